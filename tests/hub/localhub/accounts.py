"""Who there is: users, an organisation, and their tokens."""
import hashlib
from dataclasses import dataclass, field


def object_id(text):
    """24 hex digits that are always the same for a name, as the Hub's ids look (PROTOCOL 3, Job object)."""
    return hashlib.sha256(text.encode()).hexdigest()[:24]


@dataclass
class Account:
    name: str
    type: str = "user"
    members: dict = field(default_factory=dict)  # of an organisation: user name -> role

    @property
    def id(self):
        return object_id(self.name)

    def brief(self):
        return {"id": self.id, "name": self.name, "type": self.type}


@dataclass
class Token:
    text: str
    user: str
    role: str = "write"  # write, read, or none: valid, but without a right to any namespace


class Accounts:
    """alice owns the usual token; she and bob are members of the organisation acme, mallory belongs to nobody."""

    ALICE = "hf_LocalHubAliceWrites00000000000000"
    ALICE_READ = "hf_LocalHubAliceReads000000000000000"
    ALICE_NONE = "hf_LocalHubAliceHasNoAccess00000000"
    ALICE_OTHER = "hf_LocalHubAliceWritesToo0000000000"
    BOB = "hf_LocalHubBobWrites0000000000000000"
    MALLORY = "hf_LocalHubMalloryWrites00000000000"
    UNKNOWN = "hf_LocalHubNobodyKnowsThisOne000000"

    def __init__(self):
        self.accounts, self.tokens = {}, {}
        for name in ("alice", "bob", "mallory"):
            self.add(Account(name))
        self.add(Account("acme", "org", {"alice": "admin", "bob": "read"}))
        for text, user, role in ((self.ALICE, "alice", "write"), (self.ALICE_READ, "alice", "read"), (self.ALICE_NONE, "alice", "none"),
                                 (self.ALICE_OTHER, "alice", "write"), (self.BOB, "bob", "write"), (self.MALLORY, "mallory", "write")):
            self.tokens[text] = Token(text, user, role)

    def add(self, account):
        self.accounts[account.name] = account

    def by_header(self, authorization):
        """The token of an Authorization header, or None."""
        scheme, _, text = (authorization or "").partition(" ")
        return self.tokens.get(text.strip()) if scheme.lower() == "bearer" else None

    def may(self, token, namespace, action):
        """action: read or write."""
        account = self.accounts.get(namespace)
        if account is None or token.role == "none" or (action == "write" and token.role != "write"):
            return False
        if account.type == "user":
            return account.name == token.user
        role = account.members.get(token.user)
        return role is not None and (action == "read" or role in ("write", "admin"))

    def readable(self, token):
        """The namespaces whose jobs' ports this token opens (PROTOCOL 3, Jobs proxy: read on the namespace)."""
        return [name for name in self.accounts if self.may(token, name, "read")]

    def whoami(self, token):
        user = self.accounts[token.user]
        orgs = [{"type": "org", "id": a.id, "name": a.name, "fullname": a.name.title(), "roleInOrg": a.members[user.name], "isEnterprise": False}
                for a in self.accounts.values() if a.type == "org" and user.name in a.members]
        return {"type": "user", "id": user.id, "name": user.name, "fullname": user.name.title(), "isPro": True, "canPay": True, "orgs": orgs,
                "auth": {"type": "access_token", "accessToken": {"displayName": "local", "role": token.role}}}
