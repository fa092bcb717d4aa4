// Command decode reads Kubernetes objects as an API server with strict field validation does: a field that the
// object's type does not have, or that is there twice, is an error.
//
//	decode < FILE
//
// It prints one line of JSON, {"objects": [...], "errors": [...]}: every object as its type writes it, and what is
// wrong, by document. Objects of other API groups than Kubernetes' own are errors.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	kubeyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
)

func main() {
	found := struct {
		Objects []runtime.Object `json:"objects"`
		Errors  []string         `json:"errors"`
	}{[]runtime.Object{}, []string{}}
	decoder := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	documents := kubeyaml.NewYAMLReader(bufio.NewReader(os.Stdin))
	for number := 1; ; number++ {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		var decoded runtime.Object
		if err == nil {
			decoded, _, err = decoder.Decode(document, nil, nil)
		}
		if err != nil {
			found.Errors = append(found.Errors, fmt.Sprintf("document %d: %v", number, err))
			continue
		}
		found.Objects = append(found.Objects, decoded)
	}
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		fmt.Fprintln(os.Stderr, "decode:", err)
		os.Exit(1)
	}
}
