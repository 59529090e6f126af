// Package info maps the upstream TLS provider's resources to the names that the pulumi_tls SDK sends.
package info

import (
	pfbridge "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/pf/tfbridge"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"

	"github.com/hashicorp/terraform-provider-tls/internal/provider"
)

// Version of the pulumi_tls SDK that the plugin answers; the build sets it.
var Version = "0.0.0"

func resource(module, name string) *tfbridge.ResourceInfo {
	return &tfbridge.ResourceInfo{Tok: tokens.Type("tls:index/" + module + ":" + name)}
}

func function(name string) *tfbridge.DataSourceInfo {
	return &tfbridge.DataSourceInfo{Tok: tokens.ModuleMember("tls:index/" + name + ":" + name)}
}

// Provider describes the bridged provider. metadata is empty while the schema is generated.
func Provider(metadata []byte) tfbridge.ProviderInfo {
	if metadata == nil {
		metadata = []byte("{}")
	}
	return tfbridge.ProviderInfo{
		P:       pfbridge.ShimProvider(provider.New()),
		Name:    "tls",
		Version: Version,
		Resources: map[string]*tfbridge.ResourceInfo{
			"tls_cert_request":        resource("certRequest", "CertRequest"),
			"tls_locally_signed_cert": resource("locallySignedCert", "LocallySignedCert"),
			"tls_private_key":         resource("privateKey", "PrivateKey"),
			"tls_self_signed_cert":    resource("selfSignedCert", "SelfSignedCert"),
		},
		DataSources: map[string]*tfbridge.DataSourceInfo{
			"tls_certificate": function("getCertificate"),
			"tls_public_key":  function("getPublicKey"),
		},
		MetadataInfo:     tfbridge.NewProviderMetadata(metadata),
		UpstreamRepoPath: ".",
	}
}
