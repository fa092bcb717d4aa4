"""The greeter of Dubbo-go's Istio tutorial, over Triple and over Thrift."""
