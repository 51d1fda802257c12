"""Names the callers, the places that they call from, and the products that they call about."""

from typing import Final

FIRST_NAMES: Final = (
    "Amelia", "Noah", "Priya", "José", "Fatima", "Liam", "Chloë", "Kwame", "Yuki", "Olivia", "Mateo", "Zoë",
    "Ivan", "Leila", "Søren", "Grace", "Diego", "Hannah", "Omar", "Ella",
)  # fmt: skip
LAST_NAMES: Final = (
    "Nguyen", "Smith", "García", "O'Brien", "Kowalski", "Müller", "Okafor", "Tanaka", "Rossi", "Johnson", "Singh",
    "Dubois", "Hansen", "Alvarez", "Cohen", "Ibrahim", "Novák", "Brown", "Silva", "Park",
)  # fmt: skip
CITIES: Final = ("Portland", "Austin", "Leeds", "San José", "Malmö", "Tucson", "Halifax", "Cork", "Boise", "Tampa")
PRODUCTS: Final = (
    "espresso machine",
    "desk lamp",
    "trail shoes",
    "air purifier",
    "standing desk",
    "headset",
    "stroller",
)
