package main

import (
	_ "istio.io/istio/pilot/pkg/config/kube/crd"
	_ "istio.io/istio/pilot/test/xds"
)

func main() {}
