package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"dubbo.apache.org/dubbo-go/v3/common/constant"
	"dubbo.apache.org/dubbo-go/v3/config"
	"dubbo.apache.org/dubbo-go/v3/protocol"
	"dubbo.apache.org/dubbo-go/v3/protocol/triple/triple_protocol"
	"dubbo.apache.org/dubbo-go/v3/server"

	"pyrpc-xds/tests/interop/dubbo-go/greeter"
	"pyrpc-xds/tests/interop/dubbo-go/plain"
)

const startSeconds = 20

// serve prints {"address": ...} once the server answers, and returns when standard input has ended.
func serve(arguments []string, results *json.Encoder) error {
	flags := flag.NewFlagSet("server", flag.ContinueOnError)
	version := flags.String("version", "v1.0.0", "the id of every answer")
	var variants []string
	flags.Func("variant", "GROUP/VERSION that is served as well, with that added to the id", func(text string) error {
		variants = append(variants, text)
		return nil
	})
	file := flags.String("yaml", "", "dubbo-go's own configuration of it; with -port")
	port := flags.Int("port", 0, "the port that the file says")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if *file != "" {
		return serveConfigured(*file, *port, *version, results)
	}
	return serveInCode(*version, variants, results)
}

// GreeterServerImpl has the name of the tutorial's provider.services.GreeterServerImpl, by which dubbo-go finds it.
type GreeterServerImpl struct{ Greeter }

// XXX_InterfaceName is what the file's `interface: ""` is read from.
func (*GreeterServerImpl) XXX_InterfaceName() string { return greeter.Name }

// serveConfigured serves what a file of Dubbo's YAML says.
func serveConfigured(file string, port int, version string, results *json.Encoder) error {
	config.SetProviderServiceWithInfo(&GreeterServerImpl{Greeter{version}}, greeter.ServiceInfo())
	if err := config.Load(config.WithPath(file)); err != nil {
		return err
	}
	return untilTold(fmt.Sprintf("127.0.0.1:%d", port), nil, results)
}

func serveInCode(version string, variants []string, results *json.Encoder) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	served, err := server.NewServer(
		server.WithServerProtocol(protocol.WithTriple(), protocol.WithIp("127.0.0.1"), protocol.WithPort(port)),
	)
	if err != nil {
		return err
	}
	if err := served.Register(&Greeter{version}, greeter.ServiceInfo()); err != nil {
		return err
	}
	if err := served.Register(&plain.Service{}, plain.ServiceInfo(), server.WithSerialization(plain.Serialization)); err != nil {
		return err
	}
	for _, variant := range variants {
		group, service, _ := strings.Cut(variant, "/")
		handler := &Greeter{version + " " + variant}
		options := []server.ServiceOption{server.WithGroup(group), server.WithVersion(service)}
		if err := served.Register(handler, greeter.ServiceInfo(), options...); err != nil {
			return err
		}
	}
	failed := make(chan error, 1)
	go func() { failed <- served.Serve() }()
	return untilTold(fmt.Sprintf("127.0.0.1:%d", port), failed, results)
}

// untilTold says where the server is, once it answers, and returns when standard input has ended.
func untilTold(address string, failed <-chan error, results *json.Encoder) error {
	if err := answers(address, failed); err != nil {
		return err
	}
	if err := results.Encode(map[string]string{"address": address}); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// freePort is one that nobody listens on; dubbo-go cannot be asked to choose one and tell.
func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

func answers(address string, failed <-chan error) error {
	for until := time.Now().Add(startSeconds * time.Second); time.Now().Before(until); {
		connection, err := net.Dial("tcp", address)
		if err == nil {
			return connection.Close()
		}
		select {
		case err := <-failed:
			return fmt.Errorf("dubbo-go's server ended: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
	return fmt.Errorf("nothing listens on %s after %d s", address, startSeconds)
}

// Greeter does what the names of its requests tell it to: see tests/interop/peers/greeter.py.
type Greeter struct{ id string }

func (g *Greeter) SayHello(ctx context.Context, request *greeter.HelloRequest) (*greeter.User, error) {
	verb, rest, _ := strings.Cut(request.Name, ":")
	switch verb {
	case "attachments":
		seen, err := json.Marshal(ctx.Value(constant.AttachmentKey))
		return g.user(string(seen)), err
	case "reply":
		name, value, _ := strings.Cut(rest, "=")
		triple_protocol.AppendToOutgoingContext(ctx, name, value)
	case "error":
		number, message, _ := strings.Cut(rest, ":")
		code, err := strconv.Atoi(number)
		if err != nil {
			return nil, err
		}
		return nil, triple_protocol.NewError(triple_protocol.Code(code), errors.New(message))
	case "plain":
		return nil, errors.New(rest)
	case "panic":
		panic(rest)
	case "sleep":
		milliseconds, err := strconv.Atoi(rest)
		if err != nil {
			return nil, err
		}
		select {
		case <-time.After(time.Duration(milliseconds) * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	case "deadline":
		if deadline, ok := ctx.Deadline(); ok {
			return g.user(strconv.FormatInt(time.Until(deadline).Milliseconds(), 10)), nil
		}
		return g.user("none"), nil
	}
	return g.user("Hello " + request.Name), nil
}

func (g *Greeter) SayHelloServerStream(
	ctx context.Context, request *greeter.HelloRequest, stream *triple_protocol.ServerStream,
) error {
	for number := int32(0); number < 3; number++ {
		user, err := g.user(request.Name), error(nil)
		if number > 0 {
			user, err = g.SayHello(ctx, request)
		}
		if err != nil {
			return err
		}
		user.Age = number
		if err := stream.Send(user); err != nil {
			return err
		}
	}
	return nil
}

func (g *Greeter) SayHelloClientStream(
	ctx context.Context, stream *triple_protocol.ClientStream,
) (*greeter.User, error) {
	var names []string
	for request := new(greeter.HelloRequest); stream.Receive(request); request = new(greeter.HelloRequest) {
		if _, err := g.SayHello(ctx, request); err != nil {
			return nil, err
		}
		names = append(names, request.Name)
	}
	if err := stream.Err(); err != nil {
		return nil, err
	}
	return g.user("Hello " + strings.Join(names, ", ")), nil
}

func (g *Greeter) SayHelloStream(ctx context.Context, stream *triple_protocol.BidiStream) error {
	for {
		request := new(greeter.HelloRequest)
		if err := stream.Receive(request); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		user, err := g.SayHello(ctx, request)
		if err != nil {
			return err
		}
		if err := stream.Send(user); err != nil {
			return err
		}
	}
}

func (g *Greeter) user(name string) *greeter.User {
	return &greeter.User{Name: name, Id: g.id, Age: 21}
}
