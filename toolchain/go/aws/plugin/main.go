// Command plugin serves the AWS resources to the Pulumi engine.
package main

import (
	"context"
	_ "embed"

	pfbridge "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/pf/tfbridge"

	"github.com/hashicorp/terraform-provider-aws/plugin/info"
)

//go:embed schema.json
var schema []byte

//go:embed bridge-metadata.json
var metadata []byte

func main() { pfbridge.MainWithMuxer(context.Background(), "aws", info.Provider(metadata), schema) }
