// Package plain is an interface without IDL: its parameters are Go's own, which Triple wraps.
package plain

import (
	"context"
	"errors"

	"dubbo.apache.org/dubbo-go/v3/client"
	"dubbo.apache.org/dubbo-go/v3/common/constant"
	"dubbo.apache.org/dubbo-go/v3/protocol/triple/triple_protocol"
	"dubbo.apache.org/dubbo-go/v3/server"
)

// Name is the interface's full name.
const Name = "org.apache.dubbo.sample.Plain"

// Serialization is what the server reads where the content type says protobuf.
const Serialization = constant.MsgpackSerialization

// The methods.
const (
	Greet  = "greet"
	Add    = "add"
	Refuse = "refuse"
)

// ClientInfo describes the interface to a dubbo-go client.
var ClientInfo = client.ClientInfo{InterfaceName: Name, MethodNames: []string{Greet, Add, Refuse}}

// Service is the server's implementation.
type Service struct{}

// Greet says hello.
func (*Service) Greet(_ context.Context, name string) (string, error) { return "Hello " + name, nil }

// Add adds.
func (*Service) Add(_ context.Context, left, right int64) (int64, error) { return left + right, nil }

// Refuse fails with that message.
func (*Service) Refuse(_ context.Context, message string) (string, error) {
	return "", errors.New(message)
}

// ServiceInfo describes the interface to a dubbo-go server. Each registration needs one of its own: the server
// appends methods to it.
func ServiceInfo() *server.ServiceInfo {
	text := func() interface{} { return []interface{}{new(string)} }
	return &server.ServiceInfo{
		InterfaceName: Name,
		ServiceType:   (*Service)(nil),
		Methods: []server.MethodInfo{
			{
				Name: Greet, Type: constant.CallUnary, ReqInitFunc: text,
				MethodFunc: func(ctx context.Context, args []interface{}, handler interface{}) (interface{}, error) {
					return response(handler.(*Service).Greet(ctx, args[0].(string)))
				},
			},
			{
				Name: Refuse, Type: constant.CallUnary, ReqInitFunc: text,
				MethodFunc: func(ctx context.Context, args []interface{}, handler interface{}) (interface{}, error) {
					return response(handler.(*Service).Refuse(ctx, args[0].(string)))
				},
			},
			{
				Name: Add, Type: constant.CallUnary,
				ReqInitFunc: func() interface{} { return []interface{}{new(int64), new(int64)} },
				MethodFunc: func(ctx context.Context, args []interface{}, handler interface{}) (interface{}, error) {
					return response(handler.(*Service).Add(ctx, args[0].(int64), args[1].(int64)))
				},
			},
		},
	}
}

func response(result interface{}, err error) (interface{}, error) {
	if err != nil {
		return nil, err
	}
	return triple_protocol.NewResponse(result), nil
}
