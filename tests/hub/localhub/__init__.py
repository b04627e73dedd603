"""A faithful local Hugging Face Hub for tests; see hub.py."""
from .accounts import Account, Accounts, Token
from .dials import Dials
from .faults import Fault
from .hub import Hub
from .images import Image

__all__ = ["Account", "Accounts", "Dials", "Fault", "Hub", "Image", "Token"]
