namespace go example.everything.go
namespace py example.everything

enum Color { RED = 1, GREEN = 2 }

exception Refused { 1: string why, 2: i32 code }
exception Busy { 1: i64 limit }

struct Item {
  1: string name
  2: Color color = Color.RED
  3: list<Item> parts
  4: map<i32, string> labels
  5: set<i64> marks
  6: binary blob
  7: map<string, list<Color>> shades
  8: double weight
  9: bool sound
  10: byte tiny
  11: i16 small
}

service Base {
  string ping(1: string text)
  void nothing()
}

service Everything extends Base {
  Item echo(1: Item item)
  i32 add(1: i32 left, 2: i32 right = 5)
  i32 needed(1: required i32 value)
  string fail(1: string how) throws (1: Refused refused, 2: Busy busy)
  void check(1: bool good) throws (1: Refused refused)
  string undeclared(1: string text)
  bool no()
  map<string, string> reverse(1: map<string, string> words)
  oneway void fire(1: string text)
  string slow(1: double seconds)
  string close()
}
