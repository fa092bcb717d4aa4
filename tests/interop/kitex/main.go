// A real Kitex server and a real Kitex client of idl/echo.thrift, as peers for the Thrift tests.
//
//	kitex-peer server [--no-ttheader-meta] [--mux] [--next 127.0.0.1:1234] [--otel] [--verbose]
//	kitex-peer client --address 127.0.0.1:1234 < calls.json
//
// The server listens on a loopback port of its own, prints one line of JSON with its address and ends when its
// standard input closes. The client makes the calls of the list on its standard input (see Call) and prints
// what came back (see Outcome).
package main

import (
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/cloudwego/kitex/pkg/klog"
)

func main() {
	run, arguments := usage, os.Args[1:]
	if len(arguments) > 0 {
		switch arguments[0] {
		case "server":
			run, arguments = serve, arguments[1:]
		case "client":
			run, arguments = call, arguments[1:]
		}
	}
	if err := run(arguments); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func usage([]string) error {
	return fmt.Errorf("usage: %s server|client [flags]", os.Args[0])
}

// parse reads the flags; Kitex's own log goes to standard error, or nowhere unless --verbose.
func parse(flags *flag.FlagSet, arguments []string) error {
	verbose := flags.Bool("verbose", false, "pass Kitex's own log on to standard error")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	klog.SetOutput(io.Discard)
	if *verbose {
		klog.SetOutput(os.Stderr)
	}
	return nil
}
