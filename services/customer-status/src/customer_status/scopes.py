"""What a caller may be allowed to do here; `customer-status keys create` knows no other scope."""

from typing import Final

SCOPES: Final = {
    "members:read": "read members' levels and status",
    "segments:read": "lists of members by segment, counts, and snapshots",
    "segments:write": "take a snapshot",
    "contact-persons:write": "staff: say who looks after a key account",
    "offers:write": "staff: make, change and close offers",
    "claims:write": "claim an offer for a member, and give the claim back",
    "consents:write": "record how a member may be contacted",
    "surveys:write": "record a member's answers to a survey",
    "members:erase": "staff: export what is held about members",
    "operations:read": "segments and reports of the programme as a whole",
}
