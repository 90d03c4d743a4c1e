"""The words that names are made of. How they are put together is `names`' job."""

from typing import Final, NamedTuple


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


class Taste(NamedTuple):
    """A latent taste: the genre it is called by, its neighbour, and its share of the listening."""

    genre: str
    neighbour: str
    share: float


TASTES: Final = (
    Taste("Pop", "Synth Pop", 0.17),
    Taste("Hip Hop", "R&B", 0.14),
    Taste("Rock", "Indie", 0.12),
    Taste("R&B", "Soul", 0.10),
    Taste("House", "Techno", 0.09),
    Taste("Indie", "Folk", 0.08),
    Taste("Latin", "Reggae", 0.07),
    Taste("Metal", "Hard Rock", 0.06),
    Taste("Country", "Singer & Songwriter", 0.05),
    Taste("Drum & Bass", "Dubstep", 0.05),
    Taste("Jazz", "Blues", 0.04),
    Taste("Classical", "Film Music", 0.03),
)

# A name that stands here four times is four times as frequent.
GENDERS: Final = ("Female", "Male", "Female", "Male", "Female", "Male", "Female", "Male",
                  "Non-binary", "Genderqueer", "Agender", "Bigender")  # fmt: skip

FIRST_NAMES: Final = _words(
    "Ada Adil Agnes Aiko Alba Aldo Amara Amit Ana Anouk Arif Asha Astrid Bao Bela Bianca Bruno "
    "Camila Carlos Chiara Chloe Dalia Daniel Diego Dina Edith Elif Elena Emil Enzo Esra Ewa Fadi "
    "Farid Felix Fiona Freya Gita Goran Grace Hana Hugo Ibrahim Ida Ines Ingrid Isaac Ivo Jada "
    "Jana Jonas Joao Juno Kaito Karin Kenji Kofi Lara Leila Leon Lin Luca Lucia Maja Malik Mara "
    "Marco Mei Mina Mira Nadia Naomi Nikhil Nils Nora Olga Omar Oscar Paula Pavel Pia Priya "
    "Rafael Ravi Rosa Ruth Sami Sara Sofia Sven Tariq Tessa Theo Uma Vera Viktor Wanda Yara Yusuf "
    "Zoe"
)

LAST_NAMES: Final = _words(
    "Abbott Adeyemi Almeida Andersen Aoki Baker Banerjee Barros Becker Bianchi Bosch Brennan "
    "Castillo Chen Cohen Costa Dahl Demir Diaz Dubois Eriksen Evans Farah Ferrari Fischer "
    "Fontaine Garcia Gomes Grant Gupta Haddad Hansen Hayashi Herrera Horvat Ibarra Ivanov Jansen "
    "Jensen Kamara Kaplan Keller Khan Kim Kovacs Kowalski Lambert Larsen Lee Lopez Maier Mancini "
    "Marsh Mbeki Mendes Meyer Mori Moreau Morgan Nakamura Navarro Nguyen Nilsson Novak Okafor "
    "Oliveira Ortiz Osman Park Patel Pereira Petrov Popescu Quinn Rahman Reyes Ricci Rossi Saito "
    "Santos Schmidt Shah Silva Singh Sokolov Stone Suzuki Tanaka Torres Turner Varga Vasquez "
    "Vogel Walker Weber Wong Yamada Yilmaz Young Zhang Ziegler"
)

ADJECTIVES: Final = _words(
    "Amber Ancient Autumn Blue Bitter Broken Burning Careless Cold Copper Crooked Crystal Dancing "
    "Dark Distant Electric Empty Endless Fading Faithful Falling Final Foreign Frozen Gentle "
    "Golden Hidden Hollow Honest Hungry Idle Inner Iron Ivory Last Late Little Lonely Lost Lucid "
    "Midnight Minor Neon Northern Open Pale Paper Patient Plastic Quiet Rare Restless Royal Rusty "
    "Sacred Secret Silent Silver Sleeping Slow Solar Southern Static Stolen Strange Summer Sweet "
    "Tender Velvet Violet Wandering Wicked Wild Winter Wooden Yellow Young"
)

NOUNS: Final = _words(
    "Airport Alibi Anchor Arrow Avenue Balcony Bridge Cabin Canyon Carousel Cathedral Circle "
    "Clock Coast Comet Corner Crown Curtain Daylight Desert Diamond Door Dream Echo Ember Engine "
    "Feather Fever Field Fire Flag Forest Fountain Garden Ghost Harbour Heart Highway Honey "
    "Horizon Hotel Island Jungle Kingdom Ladder Lantern Letter Lighthouse Machine Map Mirror Moon "
    "Mountain Ocean Orchard Paradise Parade Planet Pocket Radio Rain River Road Rooftop Satellite "
    "Shadow Signal Skyline Smoke Snow Station Stone Stranger Sugar Sunday Temple Thunder Tiger "
    "Tower Train Umbrella Valley Village Violin Water Weather Whisper Window"
)

VERBS: Final = _words(
    "Answer Be Believe Borrow Break Call Carry Catch Chase Cross Dance Find Follow Forget Give "
    "Hear Hold Keep Know Leave Lose Love Meet Miss Need Remember Save See Send Stay Stop Take "
    "Tell Touch Trust Turn Wait Wake Walk Want"
)
