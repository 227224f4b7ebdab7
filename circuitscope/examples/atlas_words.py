"""Hold the word tables of the atlas example: places, people, things.

The geography is real: every city lies in the state it is listed under, and the first city of each
state is its capital. Only states whose name and capital are single words are listed, and a city
name occurs once in the table, although some also exist as small towns elsewhere.
"""

__all__ = [
    "ADJECTIVES",
    "CITIES",
    "NAMES",
    "NOUNS",
    "OBJECTS",
    "PLACES",
    "PREPOSITIONS",
    "SPECIAL_TOKENS",
    "STATES",
]

SPECIAL_TOKENS = ("<pad>", "<bos>", "<unk>")

# State -> its cities, capital first.
CITIES: dict[str, tuple[str, ...]] = {
    "Alabama": ("Montgomery", "Birmingham", "Mobile", "Tuscaloosa", "Dothan", "Gadsden"),
    "Alaska": ("Juneau", "Anchorage", "Fairbanks", "Ketchikan", "Sitka", "Wasilla"),
    "Arizona": ("Phoenix", "Tucson", "Mesa", "Tempe", "Scottsdale", "Flagstaff"),
    "California": ("Sacramento", "Oakland", "Fresno", "Bakersfield", "Stockton", "Anaheim"),
    "Colorado": ("Denver", "Boulder", "Pueblo", "Greeley", "Durango", "Thornton"),
    "Connecticut": ("Hartford", "Bridgeport", "Stamford", "Waterbury", "Danbury", "Meriden"),
    "Delaware": ("Dover", "Wilmington", "Newark", "Lewes", "Seaford", "Harrington"),
    "Florida": ("Tallahassee", "Miami", "Tampa", "Orlando", "Sarasota", "Pensacola"),
    "Georgia": ("Atlanta", "Savannah", "Macon", "Valdosta", "Alpharetta", "Statesboro"),
    "Hawaii": ("Honolulu", "Hilo", "Kailua", "Kahului", "Waipahu", "Lihue"),
    "Idaho": ("Boise", "Nampa", "Pocatello", "Caldwell", "Rexburg", "Ketchum"),
    "Illinois": ("Springfield", "Chicago", "Naperville", "Rockford", "Joliet", "Champaign"),
    "Indiana": ("Indianapolis", "Evansville", "Muncie", "Kokomo", "Gary", "Elkhart"),
    "Kansas": ("Topeka", "Wichita", "Olathe", "Salina", "Hutchinson", "Lenexa"),
    "Kentucky": ("Frankfort", "Louisville", "Paducah", "Owensboro", "Hopkinsville", "Bardstown"),
    "Maine": ("Augusta", "Bangor", "Biddeford", "Orono", "Kennebunk", "Skowhegan"),
    "Maryland": ("Annapolis", "Baltimore", "Rockville", "Bethesda", "Frederick", "Hagerstown"),
    "Massachusetts": ("Boston", "Worcester", "Lowell", "Brockton", "Somerville", "Framingham"),
    "Michigan": ("Lansing", "Detroit", "Flint", "Kalamazoo", "Dearborn", "Saginaw"),
    "Mississippi": ("Jackson", "Biloxi", "Gulfport", "Tupelo", "Hattiesburg", "Natchez"),
    "Montana": ("Helena", "Billings", "Missoula", "Bozeman", "Butte", "Kalispell"),
    "Nebraska": ("Lincoln", "Omaha", "Kearney", "Scottsbluff", "Ogallala", "Papillion"),
    "Ohio": ("Columbus", "Cleveland", "Cincinnati", "Toledo", "Akron", "Dayton"),
    "Oregon": ("Salem", "Portland", "Eugene", "Corvallis", "Bend", "Astoria"),
    "Pennsylvania": (
        "Harrisburg",
        "Philadelphia",
        "Pittsburgh",
        "Scranton",
        "Allentown",
        "Erie",
    ),
    "Tennessee": (
        "Nashville",
        "Memphis",
        "Knoxville",
        "Chattanooga",
        "Murfreesboro",
        "Gatlinburg",
    ),
    "Texas": ("Austin", "Dallas", "Houston", "Lubbock", "Laredo", "Amarillo"),
    "Vermont": ("Montpelier", "Burlington", "Rutland", "Brattleboro", "Bennington", "Stowe"),
    "Virginia": ("Richmond", "Norfolk", "Roanoke", "Lynchburg", "Charlottesville", "Hampton"),
    "Washington": ("Olympia", "Seattle", "Tacoma", "Spokane", "Yakima", "Bellingham"),
    "Wisconsin": ("Madison", "Milwaukee", "Oshkosh", "Kenosha", "Racine", "Appleton"),
    "Wyoming": ("Cheyenne", "Casper", "Laramie", "Sheridan", "Cody", "Gillette"),
}

# State -> capital.
STATES: dict[str, str] = {state: cities[0] for state, cities in CITIES.items()}

NAMES = tuple(
    "Mary John Alice Peter Anna Paul Laura Mark Sarah David Emma James Julia Robert Linda Thomas "
    "Susan Daniel Karen Michael Nancy Steven Ruth Brian Diana Kevin Ellen Simon Clara Martin "
    "Grace Philip Rosa Oliver Nora Henry Lucy Walter Sophie Victor".split()
)

PLACES = tuple(
    "shop park school garden station library office beach museum market hospital theatre".split()
)

OBJECTS = tuple(
    "book ball letter drink ring basket ticket flower ribbon sandwich coin map pencil "
    "guitar".split()
)

# Singular -> plural.
NOUNS: dict[str, str] = {
    word: word + ("es" if word.endswith(("x", "s", "ch", "sh")) else "s")
    for word in (
        "key cabinet door window box picture road bridge table chair lamp house tree boat horse "
        "dog bird painting label report teacher student farmer song wall clock bench church "
        "tower statue mirror"
    ).split()
}

PREPOSITIONS = tuple("to near behind beside under above with by".split())

ADJECTIVES = tuple(
    "old new small large red green blue black white clean dirty broken quiet famous heavy strange "
    "bright lost safe ready".split()
)
