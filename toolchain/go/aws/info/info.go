// Package info maps the upstream AWS provider's resources to the names that the pulumi_aws SDK sends.
package info

import (
	"context"
	"strings"
	"unicode"

	pfbridge "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/pf/tfbridge"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	shim "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfshim"
	shimv2 "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfshim/sdk-v2"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"

	"github.com/hashicorp/terraform-provider-aws/internal/provider/framework"
	"github.com/hashicorp/terraform-provider-aws/internal/provider/sdkv2"
)

// Version of the pulumi_aws SDK that the plugin answers; the build sets it.
var Version = "0.0.0"

// token turns `ec2:Vpc` into `aws:ec2/vpc:Vpc`, and a function's `ec2:getAmi` into `aws:ec2/getAmi:getAmi`.
func token(name string) string {
	module, member, _ := strings.Cut(name, ":")
	file := []rune(member)
	file[0] = unicode.ToLower(file[0])
	return "aws:" + module + "/" + string(file) + ":" + member
}

// Provider describes the bridged provider. metadata is empty while the schema is generated.
func Provider(metadata []byte) tfbridge.ProviderInfo {
	if metadata == nil {
		metadata = []byte("{}")
	}
	ctx := context.Background()
	classic, err := sdkv2.NewProvider(ctx)
	if err != nil {
		panic(err)
	}
	modern, err := framework.NewProvider(ctx, classic)
	if err != nil {
		panic(err)
	}
	described := tfbridge.ProviderInfo{
		P:                pfbridge.MuxShimWithDisjointgPF(ctx, shimv2.NewProvider(classic), modern),
		Name:             "aws",
		Version:          Version,
		Resources:        map[string]*tfbridge.ResourceInfo{},
		DataSources:      map[string]*tfbridge.DataSourceInfo{},
		MetadataInfo:     tfbridge.NewProviderMetadata(metadata),
		UpstreamRepoPath: ".",
	}
	ignored := map[string]bool{}
	described.P.ResourcesMap().Range(func(name string, resource shim.Resource) bool {
		if sdk, served := resources[name]; served {
			described.Resources[name] = &tfbridge.ResourceInfo{
				Tok: tokens.Type(token(sdk)), Fields: fieldsOf(name, resource),
			}
		} else {
			ignored[name] = true
		}
		return true
	})
	described.P.DataSourcesMap().Range(func(name string, _ shim.Resource) bool {
		if sdk, served := functions[name]; served {
			described.DataSources[name] = &tfbridge.DataSourceInfo{Tok: tokens.ModuleMember(token(sdk))}
		} else {
			ignored[name] = true
		}
		return true
	})
	for name := range ignored {
		described.IgnoreMappings = append(described.IgnoreMappings, name)
	}
	// The official plugin names resources the same way: the logical name, a dash, seven random characters.
	described.SetAutonaming(255, "-")
	return described
}
