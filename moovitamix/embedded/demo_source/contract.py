"""The shapes of the source's answers, as its /openapi.json describes them.

They describe and are never filled: answers are encoded from `records`, and a test holds the two
together.
"""

from datetime import datetime
from typing import Annotated, Generic, TypeVar

from pydantic import BaseModel, Field

OutT = TypeVar("OutT")


class TracksOut(BaseModel):
    """A track of the catalogue."""

    id: int
    name: str
    artist: str
    songwriters: str
    duration: str
    genres: str
    album: str
    created_at: datetime
    updated_at: datetime


class UsersOut(BaseModel):
    """A user of the music app."""

    id: int
    first_name: str
    last_name: str
    email: str
    gender: str
    favorite_genres: str
    created_at: datetime
    updated_at: datetime


class ListenHistoryOut(BaseModel):
    """One user and the tracks heard, in order."""

    user_id: int | None
    items: list[int] | None
    created_at: datetime
    updated_at: datetime


class PageCustomized(BaseModel, Generic[OutT]):
    """One page of an endpoint's records."""

    items: list[OutT]
    total: Annotated[int, Field(ge=0)] | None
    page: Annotated[int, Field(ge=1)] | None
    size: Annotated[int, Field(ge=1)] | None
    pages: Annotated[int, Field(ge=0)] | None = None
