module hubstack/toolchain/etcd

go 1.25.6

require go.etcd.io/etcd/server/v3 v3.6.4
