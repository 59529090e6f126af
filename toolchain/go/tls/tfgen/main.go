// Command tfgen writes the plugin's schema.json and bridge-metadata.json, which the plugin embeds.
package main

import (
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/pf/tfgen"

	"github.com/hashicorp/terraform-provider-tls/bridge/info"
)

func main() { tfgen.Main("tls", info.Provider(nil)) }
