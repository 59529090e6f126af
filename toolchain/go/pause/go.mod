module hubstack/toolchain/pause

go 1.25.6
