// Istio's Bookinfo as Thrift services. Every answer says which workload gave it.
namespace py bookinfo
namespace go bookinfo

struct Workload {
  1: string app
  2: string version
}

struct Book {
  1: string title
  2: string author
  3: i32 year
  4: i32 pages
  5: string publisher
  6: string language
  7: string isbn
}

struct BookAnswer {
  1: Workload answered_by
  2: Book book
}

// Stars from 1 to 5 by reviewer.
struct RatingsAnswer {
  1: Workload answered_by
  2: map<string, i32> stars
}

struct Rating {
  1: i32 stars
  2: string color
}

struct Review {
  1: string reviewer
  2: string text
  3: optional Rating rating
}

struct ReviewsAnswer {
  1: Workload answered_by
  2: list<Review> reviews
  // Who gave the ratings; absent where this version asks nobody.
  3: optional Workload ratings_by
}

exception NoSuchProduct {
  1: i32 product_id
}

service Details {
  BookAnswer GetBook(1: i32 product_id) throws (1: NoSuchProduct missing)
}

service Ratings {
  RatingsAnswer GetRatings(1: i32 product_id) throws (1: NoSuchProduct missing)
}

service Reviews {
  ReviewsAnswer GetReviews(1: i32 product_id) throws (1: NoSuchProduct missing)
}
