// Command tfgen writes the plugin's schema.json and bridge-metadata.json, which the plugin embeds.
package main

import (
	pftfgen "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/pf/tfgen"

	"github.com/hashicorp/terraform-provider-aws/plugin/info"
)

func main() { pftfgen.MainWithMuxer("aws", info.Provider(nil)) }
