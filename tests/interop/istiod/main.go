// Command istiod serves real istiod xDS from plain YAML, without a Kubernetes cluster.
//
// It runs istiod's own discovery server over istiod's own in-memory Kubernetes client and config
// store, and keeps both equal to the set of YAML documents that it was last given.
//
//	istiod --xds 127.0.0.1:0 --admin 127.0.0.1:0 --config DIR
//
// When ready it prints one line of JSON, {"xds": "host:port", "admin": "host:port"}; it exits when its
// standard input is closed, so that it cannot outlive the process that started it.
//
//	PUT /config   replace the whole set of documents (application/yaml); answers when istiod has taken it in
//	GET /ready    200 once the first set is served
//	GET /debug/   istiod's own debug pages (configz, endpointz, adsz, syncz ...)
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/log"
)

// maxConfigBytes bounds a PUT body; the greatest corpus here is three orders of magnitude smaller.
const maxConfigBytes = 64 << 20

func main() {
	xdsAddress := flag.String("xds", "127.0.0.1:0", "loopback host:port of the plaintext ADS server")
	adminAddress := flag.String("admin", "127.0.0.1:0", "loopback host:port of the HTTP admin endpoint")
	configDir := flag.String("config", "", "folder of *.yaml and *.yml files to start from")
	verbose := flag.Bool("verbose", false, "istiod's own log, on standard error")
	flag.Parse()
	if err := run(*xdsAddress, *adminAddress, *configDir, *verbose); err != nil {
		fmt.Fprintln(os.Stderr, "istiod:", err)
		os.Exit(1)
	}
}

func run(xdsAddress, adminAddress, configDir string, verbose bool) error {
	options := log.DefaultOptions()
	options.OutputPaths = []string{"stderr"}
	if !verbose {
		options.SetDefaultOutputLevel(log.OverrideScopeName, log.ErrorLevel)
	}
	if err := log.Configure(options); err != nil {
		return err
	}
	initial, err := readFolder(configDir)
	if err != nil {
		return err
	}
	xdsListener, err := listenLoopback(xdsAddress)
	if err != nil {
		return err
	}
	adminListener, err := listenLoopback(adminAddress)
	if err != nil {
		return err
	}

	failer := &processFailer{}
	defer failer.cleanUp()
	server := xds.NewFakeDiscoveryServer(failer, xds.FakeOptions{
		ListenerBuilder: func() (net.Listener, error) { return xdsListener, nil },
		// A PUT changes many objects: gather them into few pushes, as istiod does in a cluster.
		DebounceTime: 10 * time.Millisecond,
	})
	world := newWorld(server)
	if _, err := world.replace(initial); err != nil {
		return err
	}

	mux := http.NewServeMux()
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ready") })
	mux.HandleFunc("PUT /config", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxConfigBytes))
		if err != nil {
			http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
			return
		}
		changes, err := world.replace(string(body))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_ = json.NewEncoder(w).Encode(changes)
	})
	mux.Handle("/debug/", server.DiscoveryDebug)
	admin := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- admin.Serve(adminListener) }()

	ready, err := json.Marshal(map[string]string{
		"xds": xdsListener.Addr().String(), "admin": adminListener.Addr().String(),
	})
	if err != nil {
		return err
	}
	fmt.Println(string(ready))

	closed := make(chan struct{})
	go func() { _, _ = io.Copy(io.Discard, os.Stdin); close(closed) }()
	select {
	case <-closed:
		return nil
	case err := <-failed:
		return err
	}
}

// listenLoopback refuses every address that could be reached from another machine.
func listenLoopback(address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("%s is no loopback address: use 127.0.0.1:0", address)
	}
	return net.Listen("tcp", address)
}

func readFolder(folder string) (string, error) {
	if folder == "" {
		return "", nil
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return "", err
	}
	var names []string
	for _, entry := range entries {
		if extension := filepath.Ext(entry.Name()); extension == ".yaml" || extension == ".yml" {
			names = append(names, entry.Name())
		}
	}
	sort.Strings(names)
	var documents []string
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			return "", err
		}
		documents = append(documents, string(text))
	}
	return strings.Join(documents, "\n---\n"), nil
}
