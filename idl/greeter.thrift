// The greeter of Dubbo-go's Istio tutorial, as a Thrift service.
namespace py org.apache.dubbo.sample
namespace go org.apache.dubbo.sample

struct HelloRequest {
  1: string name
}

struct User {
  1: string name
  2: string id
  3: i32 age
}

service Greeter {
  User SayHello(1: HelloRequest request)
}
