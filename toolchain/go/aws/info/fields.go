package info

import (
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	shim "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfshim"
)

// asNamed keeps a list's name, which the bridge would put into the plural.
func asNamed(names ...string) map[string]*tfbridge.SchemaInfo {
	kept := map[string]*tfbridge.SchemaInfo{}
	for _, name := range names {
		kept[name] = &tfbridge.SchemaInfo{Name: name}
	}
	return kept
}

// asList is a list in the SDK although upstream allows one element at most.
func asList(name string) *tfbridge.SchemaInfo {
	return &tfbridge.SchemaInfo{Name: name, MaxItemsOne: tfbridge.False()}
}

// exceptions holds, by upstream resource, the properties that the SDK describes otherwise than the bridge's rules do.
var exceptions = map[string]map[string]*tfbridge.SchemaInfo{
	"aws_cloudwatch_metric_alarm": {"alarm_name": tfbridge.AutoName("name", 255, "-")},
	"aws_default_network_acl":     asNamed("egress", "ingress"),
	"aws_default_security_group":  asNamed("egress", "ingress"),
	"aws_lb_target_group":         {"deregistration_delay": {Type: "integer"}},
	"aws_network_acl":             asNamed("egress", "ingress"),
	"aws_route53_record": {
		"alias":                      asList("aliases"),
		"failover_routing_policy":    asList("failoverRoutingPolicies"),
		"geolocation_routing_policy": asList("geolocationRoutingPolicies"),
		"latency_routing_policy":     asList("latencyRoutingPolicies"),
		"weighted_routing_policy":    asList("weightedRoutingPolicies"),
	},
	"aws_s3_bucket": {"bucket": tfbridge.AutoName("bucket", 63, "-")},
	"aws_s3_object": {
		"source": {Asset: &tfbridge.AssetTranslation{Kind: tfbridge.FileAsset}},
	},
	"aws_security_group":         asNamed("egress", "ingress"),
	"aws_sns_topic_subscription": {"topic_arn": {Name: "topic"}},
}

// fieldsOf describes the properties of one resource that need more than the bridge's rules.
func fieldsOf(name string, resource shim.Resource) map[string]*tfbridge.SchemaInfo {
	described := map[string]*tfbridge.SchemaInfo{}
	for field, info := range exceptions[name] {
		described[field] = info
	}
	if _, tagged := resource.Schema().GetOk("tags_all"); tagged {
		// Upstream takes the provider's default tags back in here; in the SDK it is an output.
		described["tags_all"] = &tfbridge.SchemaInfo{
			MarkAsComputedOnly: tfbridge.True(), MarkAsOptional: tfbridge.False(),
		}
	}
	return described
}
