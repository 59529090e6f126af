// Command tfgen writes the plugin's schema.json and bridge-metadata.json, which the plugin embeds.
package main

import (
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/pf/tfgen"

	"github.com/terraform-providers/terraform-provider-random/bridge/info"
)

func main() { tfgen.Main("random", info.Provider(nil)) }
