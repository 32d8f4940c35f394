"""What the words of Slurm's programs mean for what is done next.

The words are those of slurm_errno.c and of the programs themselves, Slurm 20.11 to 25. They are read, since the exit
code of every refusal is 1.
"""

from __future__ import annotations

import re
from enum import StrEnum


class Refusal(StrEnum):
    """Why a program of Slurm did not do what it was asked for.

    OUTAGE: nothing can be done just now, and the same call can be repeated. LIMIT: too many jobs at once; fewer, or
    the same ones later, are taken. UNAVAILABLE: nodes are down, drained, reserved or busy; sbatch queues such a job
    although its --test-only refuses it, unless no node could ever run it. REFUSED: anything else.
    """

    OUTAGE = "outage"
    LIMIT = "limit"
    UNAVAILABLE = "unavailable"
    REFUSED = "refused"


_COUNT = r"""
    (?:QOS|Assoc)\w*Submit\w* | MaxSubmit\w* | MaxJobCount | job\ queue\ full | submit\ limit\ reached
    | Invalid\ job\ array\ specification | Invalid\ array\ size
"""
"""Reasons and errors that name a number of jobs (``QOSMaxSubmitJobPerUserLimit``, ``AssocGrpSubmitJobsLimit``)."""
_SIZE = r"\b(?:QOS|Assoc|Part)[A-Z]\w+"
"""Other reasons of a limit: the size or the time of one job is too much, and fewer jobs do not help."""
_POLICY = r"violates\ accounting/QOS\ policy"
"""What sbatch says of both kinds; before it, since Slurm 20, stands the reason."""
_AWAY = r"""
    unable\ to\ contact | connection\ (?:refused|reset|timed\ out|rejected|forced\ closed|failure) | timed\ out
    | zero\ bytes | zero\ length\ message | header\ lengths | message\ (?:send|receive)\ failure | message\ received
    | failed\ to\ send\ entire\ message | missing\ socket | would\ block | broken\ pipe | communication\ \w+\ failure
    | no\ route\ to\ host | network\ is\ unreachable | host\ is\ down | name\ resolution | unknown\ host
    | name\ or\ service\ not\ known | can't\ find\ an\ address | SRV\ lookup\ failed | configuration\ source
    | shutting\ down | standby\ mode | rate\ limit\ exceeded | incompatible\ versions | submissions\ disabled
    | temporarily\ un(?:able|available) | try\ again | retry\ (?:later|momentarily) | internal\ error
    | munge | job\ credential | authentication | plugin\ (?:not\ ready|initialization\ failed)
    | cannot\ allocate\ memory
    | talking\ to\ the\ database | connect\ to\ database | database\ connection | persistent\ connection
    | slurmdbd.*(?:not\ respond|down|unavailable|getting\ response|sending\ message|unable)
"""
"""The controller, the database, munge or the network is away, starts, stops or has too much to do.

"temporarily unable to accept job" and "Resource temporarily unavailable" are EAGAIN, which the controller answers at
MaxJobCount and whatever else it is short of: nothing in the request helps, so they are tried again.
"""
_NODES = r"""
    node\ configuration\ is\ not\ available | partition\ configuration\ not\ available\ now | DOWN,\ DRAINED
    | (?:node|partition)\ not\ available | ReqNodeNotAvail | nodes\ are\ busy | partition\ in\ DOWN\ state
    | partition\ is\ in\ the\ DOWN | reservation\ (?:is\ in\ use|not\ usable\ now) | maintenance\ reservation
    | licenses\ currently\ unavailable | switch\ resources\ currently\ not\ available
"""
_CUT = r"""
    timed\ out | zero\ bytes | zero\ length\ message | header\ lengths | broken\ pipe | connection\ (?:reset|forced)
    | (?:send|receive|shutdown)\ failure | message\ received | missing\ socket | delayed\ socket\ error
"""
"""The connection ended after sbatch may have sent the job: the controller may have taken it."""
_PATTERNS = {
    name: re.compile(pattern, re.I | re.X)
    for name, pattern in {
        "count": _COUNT,
        "policy": _POLICY,
        "away": _AWAY,
        "nodes": _NODES,
        "cut": _CUT,
    }.items()
}


def refusal(answer_words: str) -> Refusal:
    """What a program that failed meant by ``answer_words``, its errors or all it printed."""
    if _PATTERNS["count"].search(answer_words):
        return Refusal.LIMIT
    if _PATTERNS["policy"].search(answer_words):
        return Refusal.REFUSED if re.search(_SIZE, answer_words) else Refusal.LIMIT
    if _PATTERNS["away"].search(answer_words):
        return Refusal.OUTAGE
    if _PATTERNS["nodes"].search(answer_words):
        return Refusal.UNAVAILABLE
    return Refusal.REFUSED


def perhaps_taken(answer_words: str) -> bool:
    """Whether a job may be in the queue although sbatch failed with ``answer_words``."""
    # sbatch tries again by itself, for two minutes, while the controller says that it takes none.
    waiting = "temporarily unable to accept job" in answer_words and "Socket timed out" not in answer_words
    return not waiting and bool(_PATTERNS["cut"].search(answer_words))


def refuses_comment(answer_words: str) -> bool:
    """Whether a site says that it wants no comment of a job, or one of its own."""
    return bool(re.search(r"\bcomments?\b", answer_words, re.I))
