"""Details, reviews and ratings: business code, which knows its version and nothing of lanes or meshes.

Stars and their colour show on the page who answered: ratings v1 gives one star and v2 five, reviews v1 paints them
black and v2 red; reviews v3 asks for no ratings.
"""

from __future__ import annotations

from typing import Any

from .idl import bookinfo

PRODUCT = 0
COLORS = {"v1": "black", "v2": "red"}
STARS = {"v1": 1, "v2": 5}
REVIEWERS = {
    "Reviewer1": "Two pairs of twins and not one straight answer between them. I laughed until the interval.",
    "Reviewer2": "Shorter than his later plays and much sillier. See it on a stage, not on a page.",
}


class Details:
    """What is known about a book."""

    def __init__(self, version: str) -> None:
        self._me = bookinfo.Workload("details", version)

    def GetBook(self, product_id: int) -> Any:
        known(product_id)
        book = bookinfo.Book(
            title="The Comedy of Errors",
            author="William Shakespeare",
            year=1595,
            pages=200,
            publisher="PublisherA",
            language="English",
            isbn="1234567890",
        )
        return bookinfo.BookAnswer(answered_by=self._me, book=book)


class Ratings:
    """Stars by reviewer."""

    def __init__(self, version: str) -> None:
        self._me = bookinfo.Workload("ratings", version)
        self._stars = dict.fromkeys(REVIEWERS, STARS[version])

    def GetRatings(self, product_id: int) -> Any:
        known(product_id)
        return bookinfo.RatingsAnswer(answered_by=self._me, stars=self._stars)


class Reviews:
    """What readers wrote and, but for v3, the stars that the ratings service has of them.

    :param ratings: a client of the ratings service.
    """

    def __init__(self, version: str, ratings: Any) -> None:
        self._me = bookinfo.Workload("reviews", version)
        self._color = COLORS.get(version)
        self._ratings = ratings

    def GetReviews(self, product_id: int) -> Any:
        known(product_id)
        answer = bookinfo.ReviewsAnswer(answered_by=self._me)
        stars = {}
        if self._color:
            ratings = self._ratings.GetRatings(product_id)
            stars, answer.ratings_by = ratings.stars, ratings.answered_by
        answer.reviews = [
            bookinfo.Review(
                reviewer=reviewer,
                text=text,
                rating=bookinfo.Rating(stars[reviewer], self._color) if reviewer in stars else None,
            )
            for reviewer, text in REVIEWERS.items()
        ]
        return answer


def known(product_id: int) -> None:
    """:raises NoSuchProduct: there is one book here."""
    if product_id != PRODUCT:
        raise bookinfo.NoSuchProduct(product_id=product_id)
