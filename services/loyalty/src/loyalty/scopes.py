"""What a caller may be allowed to do here; `loyalty keys create` knows no other scope."""

from typing import Final

SCOPES: Final = {
    "members:read": "read members, their ledger and purchases",
    "members:write": "let members join",
    "vouchers:write": "spend points, check, reserve, redeem, release and undo vouchers",
    "vouchers:codes": "see the codes of a member's open vouchers again",
    "quotes:read": "ask what a basket would earn, and what rewards there are",
    "adjustments:write": "staff: adjust points, cancel vouchers",
    "members:erase": "staff: export and erase members",
    "operations:read": "reports of the programme as a whole",
}
