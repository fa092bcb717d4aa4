// What echo.thrift includes: types of another file and package, and the service that its service extends.
namespace py pyrpc.test.base
namespace go pyrpc.test.base

typedef i64 Id
typedef map<string, string> Words

const i32 HIGHEST = 2147483647

enum Color {
  RED = 0
  GREEN = 1
  FAR = 2147483647
}

struct Tag {
  1: required string key
  2: optional string value
}

exception Refused {
  1: string why
  2: i32 code
}

service Base {
  string ping(1: string text)
  // The tag as it came; a key "refuse" is refused with the value as the reason.
  Tag tag(1: Tag tag) throws (1: Refused refused)
}
