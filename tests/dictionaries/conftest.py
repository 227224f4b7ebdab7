"""Let tests write dictionaries in SAELens' format."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
