// A dubbo-go greeter, server or client, as a peer of the interoperability tests.
//
//	dubbo-go-peer server -version v1.0.0 [-variant GROUP/VERSION ... | -yaml FILE -port PORT]
//	dubbo-go-peer client
//
// Both end when their standard input closes. What they have to say goes to standard output as JSON, one
// value a line; dubbo-go's own log goes to standard error.
//
// dubbo-go listens on every interface whatever it is told: run it in a network namespace of its own.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"syscall"

	_ "dubbo.apache.org/dubbo-go/v3/cluster/cluster/failover"
	_ "dubbo.apache.org/dubbo-go/v3/cluster/loadbalance/random"
	_ "dubbo.apache.org/dubbo-go/v3/filter/accesslog"
	_ "dubbo.apache.org/dubbo-go/v3/filter/echo"
	_ "dubbo.apache.org/dubbo-go/v3/filter/exec_limit"
	_ "dubbo.apache.org/dubbo-go/v3/filter/generic"
	_ "dubbo.apache.org/dubbo-go/v3/filter/graceful_shutdown"
	_ "dubbo.apache.org/dubbo-go/v3/filter/token"
	_ "dubbo.apache.org/dubbo-go/v3/filter/tps"
	_ "dubbo.apache.org/dubbo-go/v3/protocol/triple"
	_ "dubbo.apache.org/dubbo-go/v3/proxy/proxy_factory"
	_ "dubbo.apache.org/dubbo-go/v3/registry/directory"
	_ "dubbo.apache.org/dubbo-go/v3/registry/protocol"
)

func main() {
	results, err := ownOutput()
	if err == nil && len(os.Args) > 1 && os.Args[1] == "server" {
		err = serve(os.Args[2:], results)
	} else if err == nil && len(os.Args) == 2 && os.Args[1] == "client" {
		err = call(os.Stdin, results)
	} else if err == nil {
		err = fmt.Errorf("usage: %s server|client", os.Args[0])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// ownOutput gives the process's standard output, which from then on is standard error for everybody else:
// dubbo-go logs to it.
func ownOutput() (*json.Encoder, error) {
	copied, err := syscall.Dup(1)
	if err != nil {
		return nil, err
	}
	if err := syscall.Dup3(2, 1, 0); err != nil {
		return nil, err
	}
	return json.NewEncoder(os.NewFile(uintptr(copied), "results")), nil
}
