module hubstack/toolchain/kuberouter

go 1.25.6

require github.com/cloudnativelabs/kube-router/v2 v2.2.1

replace github.com/cloudnativelabs/kube-router/v2 => github.com/k3s-io/kube-router/v2 v2.2.1
