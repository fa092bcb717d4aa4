// Everything that Thrift's binary protocol can carry between languages, for tests against other implementations.
include "base.thrift"

namespace py pyrpc.test.echo
namespace go pyrpc.test.echo

struct Scalars {
  1: bool truth
  2: byte octet
  3: i16 small
  4: i32 middle
  5: i64 large
  6: double real
  7: string text
  8: binary blob
  9: base.Color color
  10: base.Id id
}

struct Containers {
  1: list<i32> numbers
  2: set<i64> unique
  3: map<string, i64> counts
  4: list<list<string>> table
  5: map<string, list<Scalars>> groups
  6: map<i32, base.Tag> tags
  7: list<map<i64, double>> series
  8: map<base.Color, set<string>> shades
  9: list<binary> blobs
  10: map<string, map<string, binary>> nested
  11: list<bool> flags
  12: list<byte> octets
  13: set<base.Color> colors
  14: base.Words words
  15: map<bool, i16> votes
}

union Shape {
  1: i64 circle
  2: string label
  3: base.Tag tag
  4: list<Shape> group
  5: binary raw
}

struct Presence {
  1: required i32 needed
  2: i32 plain
  3: optional i32 maybe
  4: optional string named = "unnamed"
  5: i64 counted = 7
  6: required string text
  7: optional list<string> listed
  8: optional base.Tag tag
  9: i32 highest = base.HIGHEST
}

struct Tree {
  1: i32 value
  2: optional list<Tree> leaves
}

struct Everything {
  1: Scalars scalars
  2: Containers containers
  3: Shape shape
  4: Presence presence
  5: Tree tree
}

exception Overloaded {
  1: i64 limit
  2: optional binary detail
}

// What a server saw of one request besides its arguments.
struct Seen {
  1: map<string, string> transients
  2: map<string, string> persistents
  3: string fromService
  4: string fromMethod
  5: i64 timeoutMs
  // To the deadline; -1: there is none.
  6: i64 remainingMs
  7: map<i32, string> ints
  8: map<string, string> strings
  9: string transport
}

service Echo extends base.Base {
  bool echoBool(1: bool value)
  byte echoByte(1: byte value)
  i16 echoI16(1: i16 value)
  i32 echoI32(1: i32 value)
  i64 echoI64(1: i64 value)
  double echoDouble(1: double value)
  string echoString(1: string value)
  binary echoBinary(1: binary value)
  base.Color echoColor(1: base.Color value)
  base.Id echoId(1: base.Id value)
  list<string> echoList(1: list<string> value)
  set<i32> echoSet(1: set<i32> value)
  map<i64, base.Tag> echoMap(1: map<i64, base.Tag> value)
  Scalars echoScalars(1: Scalars value)
  Containers echoContainers(1: Containers value)
  Shape echoShape(1: Shape value)
  Presence echoPresence(1: Presence value)
  Tree echoTree(1: Tree value)
  Everything echoEverything(1: Everything value)

  // The value in canonical text, so that both sides are known to mean the same by the same bytes.
  string describe(1: Everything value)

  void nothing()
  i64 subtract(1: i64 left, 2: i64 right)

  // how: "refused", "overloaded", or anything else: a result.
  string fail(1: string how, 2: string text) throws (1: base.Refused refused, 2: Overloaded overloaded)
  void check(1: bool good) throws (1: base.Refused refused)
  // Raises what the IDL does not declare.
  string undeclared(1: string text)
  // Panics, or whatever is the worst that a handler of the language can do and survive.
  string panics(1: string text)
  string sleep(1: i64 milliseconds)

  oneway void fire(1: string text)
  // All that fire was given since the last call of this, in order of arrival.
  list<string> fired()

  Seen seen()
  // Answers with this backward metainfo. how: "", "refused" or "undeclared".
  string back(1: base.Words backward, 2: string how) throws (1: base.Refused refused)
  // A business status instead of a result.
  string biz(1: i32 status, 2: string message, 3: base.Words extra)
}
