// Package greeter is the Triple stub of idl/greeter.proto: what Dubbo's generator would write, by hand,
// because that generator's module cannot be fetched. greeter.pb.go is generated next to this file when the
// peer is built (see tests/interop/peers/dubbo_go.py).
package greeter

import (
	"context"

	"dubbo.apache.org/dubbo-go/v3/client"
	"dubbo.apache.org/dubbo-go/v3/common/constant"
	"dubbo.apache.org/dubbo-go/v3/protocol/triple/triple_protocol"
	"dubbo.apache.org/dubbo-go/v3/server"
)

// Name is the service's full name.
const Name = "org.apache.dubbo.sample.Greeter"

// The methods of the service, and one that no server has.
const (
	Unary        = "SayHello"
	ServerStream = "SayHelloServerStream"
	ClientStream = "SayHelloClientStream"
	BidiStream   = "SayHelloStream"
	Unknown      = "SayNothing"
)

// Handler is a server's implementation.
type Handler interface {
	SayHello(ctx context.Context, request *HelloRequest) (*User, error)
	SayHelloServerStream(ctx context.Context, request *HelloRequest, stream *triple_protocol.ServerStream) error
	SayHelloClientStream(ctx context.Context, stream *triple_protocol.ClientStream) (*User, error)
	SayHelloStream(ctx context.Context, stream *triple_protocol.BidiStream) error
}

// ClientInfo describes the service to a dubbo-go client.
var ClientInfo = client.ClientInfo{
	InterfaceName: Name,
	MethodNames:   []string{Unary, ServerStream, ClientStream, BidiStream, Unknown},
}

// ServiceInfo describes the service to a dubbo-go server. Each registration needs one of its own: the
// server appends methods to it.
func ServiceInfo() *server.ServiceInfo {
	request := func() interface{} { return new(HelloRequest) }
	itself := func(stream interface{}) interface{} { return stream }
	return &server.ServiceInfo{
		InterfaceName: Name,
		ServiceType:   (*Handler)(nil),
		Methods: []server.MethodInfo{
			{
				Name: Unary, Type: constant.CallUnary, ReqInitFunc: request,
				MethodFunc: func(ctx context.Context, args []interface{}, handler interface{}) (interface{}, error) {
					return response(handler.(Handler).SayHello(ctx, args[0].(*HelloRequest)))
				},
			},
			{
				Name: ServerStream, Type: constant.CallServerStream, ReqInitFunc: request, StreamInitFunc: itself,
				MethodFunc: func(ctx context.Context, args []interface{}, handler interface{}) (interface{}, error) {
					stream := args[1].(*triple_protocol.ServerStream)
					return nil, handler.(Handler).SayHelloServerStream(ctx, args[0].(*HelloRequest), stream)
				},
			},
			{
				Name: ClientStream, Type: constant.CallClientStream, StreamInitFunc: itself,
				MethodFunc: func(ctx context.Context, args []interface{}, handler interface{}) (interface{}, error) {
					stream := args[0].(*triple_protocol.ClientStream)
					return response(handler.(Handler).SayHelloClientStream(ctx, stream))
				},
			},
			{
				Name: BidiStream, Type: constant.CallBidiStream, StreamInitFunc: itself,
				MethodFunc: func(ctx context.Context, args []interface{}, handler interface{}) (interface{}, error) {
					return nil, handler.(Handler).SayHelloStream(ctx, args[0].(*triple_protocol.BidiStream))
				},
			},
		},
	}
}

func response(user *User, err error) (interface{}, error) {
	if err != nil {
		return nil, err
	}
	return triple_protocol.NewResponse(user), nil
}
