// Package info maps the upstream random provider's resources to the names that the pulumi_random SDK sends.
package info

import (
	pfbridge "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/pf/tfbridge"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"

	"github.com/terraform-providers/terraform-provider-random/internal/provider"
)

// Version of the pulumi_random SDK that the plugin answers; the build sets it.
var Version = "0.0.0"

func resource(module, name string) *tfbridge.ResourceInfo {
	return &tfbridge.ResourceInfo{Tok: tokens.Type("random:index/" + module + ":" + name)}
}

// Provider describes the bridged provider. metadata is empty while the schema is generated.
func Provider(metadata []byte) tfbridge.ProviderInfo {
	if metadata == nil {
		metadata = []byte("{}")
	}
	return tfbridge.ProviderInfo{
		P:       pfbridge.ShimProvider(provider.New()),
		Name:    "random",
		Version: Version,
		Resources: map[string]*tfbridge.ResourceInfo{
			"random_bytes":    resource("randomBytes", "RandomBytes"),
			"random_id":       resource("randomId", "RandomId"),
			"random_integer":  resource("randomInteger", "RandomInteger"),
			"random_password": resource("randomPassword", "RandomPassword"),
			"random_pet":      resource("randomPet", "RandomPet"),
			"random_shuffle":  resource("randomShuffle", "RandomShuffle"),
			"random_string":   resource("randomString", "RandomString"),
			"random_uuid":     resource("randomUuid", "RandomUuid"),
		},
		IgnoreMappings:   []string{"random_uuid4", "random_uuid7"},
		MetadataInfo:     tfbridge.NewProviderMetadata(metadata),
		UpstreamRepoPath: ".",
	}
}
