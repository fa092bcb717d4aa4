"""Envoy's API as far as it is read here, in the language of .proto files; :mod:`.descriptors` makes classes of it.

Names, numbers and types are Envoy's. Fields that no decoder asks for are left out; a oneof is whole, so that what is
refused has a name. Where it is only asked whether a message is there, its type is ``google.protobuf.Empty``.
"""

ENVOY_API = """
package google.protobuf;
message Any { string type_url = 1; bytes value = 2; }
message BoolValue { bool value = 1; }
message Duration { int64 seconds = 1; int32 nanos = 2; }
message Empty { }
message UInt32Value { uint32 value = 1; }
enum NullValue { NULL_VALUE = 0; }
message ListValue { repeated Value values = 1; }
message Struct { map<string, Value> fields = 1; }
message Value {
  oneof kind {
    NullValue null_value = 1;
    double number_value = 2;
    string string_value = 3;
    bool bool_value = 4;
    Struct struct_value = 5;
    ListValue list_value = 6;
  }
}

package google.rpc;
message Status { int32 code = 1; string message = 2; }

package envoy.type.v3;
message FractionalPercent {
  enum DenominatorType { HUNDRED = 0; TEN_THOUSAND = 1; MILLION = 2; }
  uint32 numerator = 1;
  DenominatorType denominator = 2;
}
message Int64Range { int64 start = 1; int64 end = 2; }

package envoy.type.matcher.v3;
message RegexMatcher { string regex = 2; }
message StringMatcher {
  oneof match_pattern {
    string exact = 1;
    string prefix = 2;
    string suffix = 3;
    RegexMatcher safe_regex = 5;
    string contains = 7;
    google.protobuf.Empty custom = 8;
  }
  bool ignore_case = 6;
}

package envoy.config.core.v3;
enum HealthStatus { UNKNOWN = 0; HEALTHY = 1; UNHEALTHY = 2; DRAINING = 3; TIMEOUT = 4; DEGRADED = 5; }
enum RoutingPriority { DEFAULT = 0; HIGH = 1; }
message Address {
  oneof address {
    SocketAddress socket_address = 1;
    Pipe pipe = 2;
    google.protobuf.Empty envoy_internal_address = 3;
  }
}
message CidrRange { string address_prefix = 1; google.protobuf.UInt32Value prefix_len = 2; }
message ConfigSource {
  oneof config_source_specifier {
    string path = 1;
    google.protobuf.Empty path_config_source = 8;
    google.protobuf.Empty api_config_source = 2;
    google.protobuf.Empty ads = 3;
    google.protobuf.Empty self = 5;
  }
}
message HttpProtocolOptions { google.protobuf.Duration max_stream_duration = 4; }
message Locality { string region = 1; string zone = 2; string sub_zone = 3; }
message Metadata { map<string, google.protobuf.Struct> filter_metadata = 1; }
message Node {
  string id = 1;
  string cluster = 2;
  google.protobuf.Struct metadata = 3;
  Locality locality = 4;
  string user_agent_name = 6;
  oneof user_agent_version_type {
    string user_agent_version = 7;
    google.protobuf.Empty user_agent_build_version = 8;
  }
  repeated string client_features = 10;
}
message Pipe { string path = 1; }
message RuntimeFractionalPercent { type.v3.FractionalPercent default_value = 1; }
message SocketAddress {
  enum Protocol { TCP = 0; UDP = 1; }
  Protocol protocol = 1;
  string address = 2;
  oneof port_specifier { uint32 port_value = 3; string named_port = 4; }
}
message TransportSocket { string name = 1; oneof config_type { google.protobuf.Any typed_config = 3; } }
message TypedExtensionConfig { string name = 1; google.protobuf.Any typed_config = 2; }

package envoy.service.discovery.v3;
message DiscoveryRequest {
  string version_info = 1;
  config.core.v3.Node node = 2;
  repeated string resource_names = 3;
  string type_url = 4;
  string response_nonce = 5;
  google.rpc.Status error_detail = 6;
}
message DiscoveryResponse {
  string version_info = 1;
  repeated google.protobuf.Any resources = 2;
  string type_url = 4;
  string nonce = 5;
}
message Resource { string name = 3; google.protobuf.Any resource = 2; }

package envoy.config.endpoint.v3;
message ClusterLoadAssignment {
  message Policy { repeated google.protobuf.Empty drop_overloads = 2; }
  string cluster_name = 1;
  repeated LocalityLbEndpoints endpoints = 2;
  Policy policy = 4;
}
message Endpoint { core.v3.Address address = 1; }
message LbEndpoint {
  oneof host_identifier { Endpoint endpoint = 1; string endpoint_name = 5; }
  core.v3.HealthStatus health_status = 2;
  core.v3.Metadata metadata = 3;
  google.protobuf.UInt32Value load_balancing_weight = 4;
}
message LocalityLbEndpoints {
  core.v3.Locality locality = 1;
  core.v3.Metadata metadata = 9;
  repeated LbEndpoint lb_endpoints = 2;
  oneof lb_config {
    google.protobuf.Empty load_balancer_endpoints = 7;
    google.protobuf.Empty leds_cluster_locality_config = 8;
  }
  google.protobuf.UInt32Value load_balancing_weight = 3;
  uint32 priority = 5;
}

package envoy.config.cluster.v3;
message CircuitBreakers {
  message Thresholds { core.v3.RoutingPriority priority = 1; google.protobuf.UInt32Value max_requests = 4; }
  repeated Thresholds thresholds = 1;
}
message Cluster {
  enum DiscoveryType { STATIC = 0; STRICT_DNS = 1; LOGICAL_DNS = 2; EDS = 3; ORIGINAL_DST = 4; }
  enum LbPolicy {
    ROUND_ROBIN = 0;
    LEAST_REQUEST = 1;
    RING_HASH = 2;
    RANDOM = 3;
    MAGLEV = 5;
    CLUSTER_PROVIDED = 6;
    LOAD_BALANCING_POLICY_CONFIG = 7;
  }
  message CustomClusterType { string name = 1; }
  message EdsClusterConfig { core.v3.ConfigSource eds_config = 1; string service_name = 2; }
  message TransportSocketMatch {
    string name = 1;
    google.protobuf.Struct match = 2;
    core.v3.TransportSocket transport_socket = 3;
  }
  string name = 1;
  oneof cluster_discovery_type { DiscoveryType type = 2; CustomClusterType cluster_type = 38; }
  EdsClusterConfig eds_cluster_config = 3;
  LbPolicy lb_policy = 6;
  LoadBalancingPolicy load_balancing_policy = 41;
  CircuitBreakers circuit_breakers = 10;
  core.v3.TransportSocket transport_socket = 24;
  core.v3.Metadata metadata = 25;
  map<string, google.protobuf.Any> typed_extension_protocol_options = 36;
  repeated TransportSocketMatch transport_socket_matches = 43;
  google.protobuf.Empty transport_socket_matcher = 59;
  repeated google.protobuf.Empty health_checks = 8;
  google.protobuf.Empty outlier_detection = 19;
  google.protobuf.Empty lb_subset_config = 22;
}
message LoadBalancingPolicy {
  message Policy { core.v3.TypedExtensionConfig typed_extension_config = 4; }
  repeated Policy policies = 1;
}

package envoy.config.route.v3;
message ClusterSpecifierPlugin { core.v3.TypedExtensionConfig extension = 1; bool is_optional = 2; }
message FilterConfig { google.protobuf.Any config = 1; bool is_optional = 2; bool disabled = 3; }
message HeaderMatcher {
  string name = 1;
  oneof header_match_specifier {
    string exact_match = 4;
    type.v3.Int64Range range_match = 6;
    bool present_match = 7;
    string prefix_match = 9;
    string suffix_match = 10;
    type.matcher.v3.RegexMatcher safe_regex_match = 11;
    string contains_match = 12;
    type.matcher.v3.StringMatcher string_match = 13;
  }
  bool invert_match = 8;
  bool treat_missing_header_as_empty = 14;
}
message RetryPolicy {
  message RetryBackOff {
    google.protobuf.Duration base_interval = 1;
    google.protobuf.Duration max_interval = 2;
  }
  message RetryHostPredicate { string name = 1; }
  string retry_on = 1;
  google.protobuf.UInt32Value num_retries = 2;
  google.protobuf.Duration per_try_timeout = 3;
  repeated RetryHostPredicate retry_host_predicate = 5;
  repeated uint32 retriable_status_codes = 7;
  RetryBackOff retry_back_off = 8;
}
message Route {
  string name = 14;
  RouteMatch match = 1;
  oneof action {
    RouteAction route = 2;
    google.protobuf.Empty redirect = 3;
    google.protobuf.Empty direct_response = 7;
    google.protobuf.Empty filter_action = 17;
    google.protobuf.Empty non_forwarding_action = 18;
  }
  repeated google.protobuf.Empty request_headers_to_add = 9;
  repeated google.protobuf.Empty response_headers_to_add = 10;
  repeated string response_headers_to_remove = 11;
  repeated string request_headers_to_remove = 12;
  map<string, google.protobuf.Any> typed_per_filter_config = 13;
}
message RouteAction {
  message MaxStreamDuration {
    google.protobuf.Duration max_stream_duration = 1;
    google.protobuf.Duration grpc_timeout_header_max = 2;
  }
  oneof cluster_specifier {
    string cluster = 1;
    string cluster_header = 2;
    WeightedCluster weighted_clusters = 3;
    string cluster_specifier_plugin = 37;
    google.protobuf.Empty inline_cluster_specifier_plugin = 39;
  }
  google.protobuf.Duration timeout = 8;
  google.protobuf.Duration max_grpc_timeout = 23;
  MaxStreamDuration max_stream_duration = 36;
  RetryPolicy retry_policy = 9;
  google.protobuf.Empty metadata_match = 4;
  string prefix_rewrite = 5;
  repeated google.protobuf.Empty rate_limits = 13;
  repeated google.protobuf.Empty hash_policy = 15;
  google.protobuf.Empty hedge_policy = 27;
  repeated google.protobuf.Empty request_mirror_policies = 30;
  google.protobuf.Empty regex_rewrite = 32;
  google.protobuf.Empty path_rewrite_policy = 41;
  string path_rewrite = 45;
}
message RouteConfiguration {
  string name = 1;
  repeated VirtualHost virtual_hosts = 2;
  google.protobuf.Empty vhds = 9;
  repeated ClusterSpecifierPlugin cluster_specifier_plugins = 12;
  repeated google.protobuf.Empty response_headers_to_add = 4;
  repeated string response_headers_to_remove = 5;
  repeated google.protobuf.Empty request_headers_to_add = 6;
  repeated string request_headers_to_remove = 8;
  map<string, google.protobuf.Any> typed_per_filter_config = 16;
}
message RouteMatch {
  oneof path_specifier {
    string prefix = 1;
    string path = 2;
    type.matcher.v3.RegexMatcher safe_regex = 10;
    google.protobuf.Empty connect_matcher = 12;
    string path_separated_prefix = 14;
    google.protobuf.Empty path_match_policy = 15;
  }
  google.protobuf.BoolValue case_sensitive = 4;
  core.v3.RuntimeFractionalPercent runtime_fraction = 9;
  repeated HeaderMatcher headers = 6;
  repeated google.protobuf.Empty query_parameters = 7;
  google.protobuf.Empty grpc = 8;
  google.protobuf.Empty tls_context = 11;
  repeated google.protobuf.Empty dynamic_metadata = 13;
  repeated google.protobuf.Empty filter_state = 16;
}
message VirtualHost {
  string name = 1;
  repeated string domains = 2;
  repeated Route routes = 3;
  google.protobuf.Empty matcher = 21;
  RetryPolicy retry_policy = 16;
  repeated google.protobuf.Empty request_headers_to_add = 7;
  repeated google.protobuf.Empty response_headers_to_add = 10;
  repeated string response_headers_to_remove = 11;
  repeated string request_headers_to_remove = 13;
  map<string, google.protobuf.Any> typed_per_filter_config = 15;
}
message WeightedCluster {
  message ClusterWeight {
    string name = 1;
    google.protobuf.UInt32Value weight = 2;
    map<string, google.protobuf.Any> typed_per_filter_config = 10;
  }
  repeated ClusterWeight clusters = 1;
}

package envoy.config.listener.v3;
message ApiListener { google.protobuf.Any api_listener = 1; }
message Filter {
  string name = 1;
  oneof config_type { google.protobuf.Any typed_config = 4; google.protobuf.Empty config_discovery = 5; }
}
message FilterChain { FilterChainMatch filter_chain_match = 1; repeated Filter filters = 3; }
message FilterChainMatch {
  enum ConnectionSourceType { ANY = 0; SAME_IP_OR_LOOPBACK = 1; EXTERNAL = 2; }
  repeated core.v3.CidrRange prefix_ranges = 3;
  string address_suffix = 4;
  google.protobuf.UInt32Value suffix_len = 5;
  repeated google.protobuf.Empty source_prefix_ranges = 6;
  repeated uint32 source_ports = 7;
  google.protobuf.UInt32Value destination_port = 8;
  string transport_protocol = 9;
  repeated string application_protocols = 10;
  repeated string server_names = 11;
  ConnectionSourceType source_type = 12;
  repeated google.protobuf.Empty direct_source_prefix_ranges = 13;
}
message Listener {
  string name = 1;
  core.v3.Address address = 2;
  repeated FilterChain filter_chains = 3;
  ApiListener api_listener = 19;
  FilterChain default_filter_chain = 25;
}

package envoy.extensions.filters.http.fault.v3;
message HTTPFault { google.protobuf.Empty delay = 1; google.protobuf.Empty abort = 2; }

package envoy.extensions.filters.network.http_connection_manager.v3;
message HttpConnectionManager {
  oneof route_specifier {
    Rds rds = 3;
    config.route.v3.RouteConfiguration route_config = 4;
    google.protobuf.Empty scoped_routes = 31;
  }
  repeated HttpFilter http_filters = 5;
  uint32 xff_num_trusted_hops = 19;
  config.core.v3.HttpProtocolOptions common_http_protocol_options = 35;
  repeated google.protobuf.Empty original_ip_detection_extensions = 46;
}
message HttpFilter {
  string name = 1;
  oneof config_type { google.protobuf.Any typed_config = 4; google.protobuf.Empty config_discovery = 5; }
  bool is_optional = 6;
}
message Rds { config.core.v3.ConfigSource config_source = 1; string route_config_name = 2; }

package udpa.type.v1;
message TypedStruct { string type_url = 1; }

package xds.type.v3;
message TypedStruct { string type_url = 1; }
"""
