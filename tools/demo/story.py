"""The eight tips, hour by hour."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any, NotRequired, TypeAlias, TypedDict, Unpack

from onward.client import (
    Client,
    Incoming,
    IntakeDraft,
    Invalid,
    Registered,
)
from onward.core.errors import MalformedError, OnwardError
from onward.core.statements import parse_statement
from onward.v1 import content_pb2, referral_pb2, statement_pb2, vocabulary_pb2
from tools.demo.exchange import (
    FLORIDA,
    FLORIDA_HOTLINE,
    HOTLINE,
    MISSISSIPPI,
    NEVADA,
    OHIO,
    OPERATOR,
    SHELTER,
    TEXAS,
    TEXAS_CHILD,
    UTAH,
    VIRGINIA,
)
from tools.demo.showing import about, said, step
from tools.demo.timing import Timeline

V = vocabulary_pb2
_LATE = 44

Members: TypeAlias = Mapping[str, Client]
Told: TypeAlias = Sequence[tuple[str, str, str]]
"""Reference, publisher and referral id of what was told."""


class Facts(TypedDict):
    """What an intake and its referral both state."""

    urgency: vocabulary_pb2.Urgency.ValueType
    urgency_reason: NotRequired[str]
    jurisdiction: str
    subject_age_group: vocabulary_pb2.AgeGroup.ValueType


Chapter: TypeAlias = Callable[[Members, Timeline], Coroutine[Any, Any, Told]]


async def tell(member: Members, time: Timeline) -> Told:
    """Lets everything happen; returns the referrals that came of it."""
    chapters: list[Chapter] = [
        imminent_danger,
        minor,
        no_police,
        same_event_twice,
        released,
        moving_on,
        late_and_tested,
        withdrawn,
        delivered_at_last,
    ]
    told: list[tuple[str, str, str]] = []
    for chapter in chapters:
        told += await chapter(member, time)
    time.end()
    return told


async def imminent_danger(member: Members, time: Timeline) -> Told:
    """NH-0001: the phone first, then the message that documents it."""
    time.set(0, "02:16")
    step("NH-0001: a guest asks for help, and may leave at any moment", time)
    danger: Facts = {
        "urgency": V.URGENCY_IMMINENT_DANGER,
        "urgency_reason": "the guest is about to be moved; phoned first",
        "jurisdiction": "US-OH",
        "subject_age_group": V.AGE_GROUP_ADULT,
    }
    tip = time.sample("NH-0001")
    number = await register(member[HOTLINE], tip, **danger)
    time.set(0, "02:24")
    done = await member[HOTLINE].publish(
        tip,
        recipients=[OHIO],
        basis=V.DISCLOSURE_BASIS_IMMINENT_DANGER,
        intake_numbers=[number],
        **danger,
    )
    desk = await next_delivery(member[OHIO])
    time.set(0, "02:41")
    await desk.acknowledge("watch officer")
    await desk.take()
    time.set(0, "03:30")
    await desk.report_outcome(V.OUTCOME_CODE_WELFARE_CHECK_DONE, closes=True)
    return [("NH-0001", HOTLINE, done.referral_id)]


async def minor(member: Members, time: Timeline) -> Told:
    """NH-0002: police and child welfare, each with its own delivery."""
    time.set(0, "15:45")
    step("NH-0002: a student works nights; police and child welfare must know", time)
    child: Facts = {
        "urgency": V.URGENCY_MINOR,
        "urgency_reason": "a student of 13 to 17 years",
        "jurisdiction": "US-TX",
        "subject_age_group": V.AGE_GROUP_13_17,
    }
    tip = time.sample("NH-0002")
    number = await register(member[HOTLINE], tip, **child)
    try:
        await member[HOTLINE].intakes.withhold(
            number, V.WITHHOLD_REASON_VICTIM_DECLINED, "shift supervisor"
        )
    except OnwardError as refused:
        said(f"to withhold it is refused: {refused.message}")
    time.set(0, "16:10")
    done = await member[HOTLINE].publish(
        tip,
        recipients=[TEXAS, TEXAS_CHILD],
        basis=V.DISCLOSURE_BASIS_MANDATED_REPORT,
        intake_numbers=[number],
        **child,
    )
    police = await next_delivery(member[TEXAS])
    welfare = await next_delivery(member[TEXAS_CHILD])
    time.set(0, "17:05")
    await police.acknowledge("duty sergeant")
    await police.take()
    await welfare.acknowledge("intake supervisor")
    await welfare.take()
    await police.report_outcome(V.OUTCOME_CODE_INVESTIGATION_OPENED)
    await welfare.report_outcome(V.OUTCOME_CODE_ASSIGNED)
    return [("NH-0002", HOTLINE, done.referral_id)]


async def no_police(member: Members, time: Timeline) -> Told:
    """NH-0003: withheld from the police, and a bed for tonight."""
    time.set(0, "22:50")
    step("NH-0003: she wants shelter, and no police", time)
    facts: Facts = {
        "urgency": V.URGENCY_ROUTINE,
        "jurisdiction": "US-GA",
        "subject_age_group": V.AGE_GROUP_ADULT,
    }
    tip = time.sample("NH-0003")
    number = await register(member[HOTLINE], tip, **facts)
    time.set(0, "23:05")
    await member[HOTLINE].intakes.withhold(
        number, V.WITHHOLD_REASON_VICTIM_DECLINED, "shift supervisor"
    )
    said(f"intake {number} is withheld: VICTIM_DECLINED, by the shift supervisor")
    done = await member[HOTLINE].publish(
        tip,
        recipients=[SHELTER],
        basis=V.DISCLOSURE_BASIS_VICTIM_VERBAL_REQUEST,
        consent=statement_pb2.Consent(
            state=V.CONSENT_STATE_VERBAL_PENDING_WRITING, recipients=[SHELTER]
        ),
        intake_numbers=[number],
        **facts,
    )
    desk = await next_delivery(member[SHELTER])
    time.set(0, "23:30")
    await desk.acknowledge("night manager")
    await desk.take()
    await desk.report_outcome(V.OUTCOME_CODE_SERVICES_OFFERED, closes=True)
    return [("NH-0003", HOTLINE, done.referral_id)]


async def same_event_twice(member: Members, time: Timeline) -> Told:
    """FL-0117 and NH-0004: one event, two hotlines, two chains that are both kept."""
    time.set(1, "11:10")
    step("FL-0117 and NH-0004: the same event, told to two hotlines", time)
    facts: Facts = {
        "urgency": V.URGENCY_TIME_SENSITIVE,
        "jurisdiction": "US-FL",
        "subject_age_group": V.AGE_GROUP_ADULT,
    }
    told = []
    for hotline, reference, minutes, outcome in (
        (FLORIDA_HOTLINE, "FL-0117", ("11:10", "11:40"), V.OUTCOME_CODE_ASSIGNED),
        (
            HOTLINE,
            "NH-0004",
            ("11:56", "12:30"),
            V.OUTCOME_CODE_LINKED_TO_EXISTING_CASE,
        ),
    ):
        time.set(1, minutes[0])
        tip = time.sample(reference)
        number = await register(
            member[hotline], tip, 117 if hotline == FLORIDA_HOTLINE else 1, **facts
        )
        time.set(1, minutes[1])
        done = await member[hotline].publish(
            tip,
            recipients=[FLORIDA],
            basis=V.DISCLOSURE_BASIS_THIRD_PARTY_TIP,
            intake_numbers=[number],
            **facts,
        )
        desk = await next_delivery(member[FLORIDA])
        await desk.acknowledge("analyst")
        await desk.take()
        await desk.report_outcome(outcome)
        told.append((reference, hotline, done.referral_id))
    time.set(1, "13:00")
    await member[FLORIDA].link(told[0][2], told[1][2])
    said("Florida links the two: each chain points to the other, both are kept")
    return told


async def released(member: Members, time: Timeline) -> Told:
    """NH-0005: on a written release, to one agency, for thirty days."""
    time.set(2, "15:15")
    step("NH-0005: a patient signs a release for one agency, for thirty days", time)
    facts: Facts = {
        "urgency": V.URGENCY_ROUTINE,
        "jurisdiction": "US-VA",
        "subject_age_group": V.AGE_GROUP_ADULT,
    }
    tip = time.sample("NH-0005")
    number = await register(member[HOTLINE], tip, **facts)
    time.set(2, "16:00")
    consent = statement_pb2.Consent(
        state=V.CONSENT_STATE_GRANTED, recipients=[VIRGINIA], scope="victim-services"
    )
    consent.expire_time.FromDatetime(time.day(32))
    done = await member[HOTLINE].publish(
        tip,
        recipients=[VIRGINIA],
        basis=V.DISCLOSURE_BASIS_VICTIM_WRITTEN_RELEASE,
        consent=consent,
        intake_numbers=[number],
        **facts,
    )
    desk = await next_delivery(member[VIRGINIA])
    time.set(2, "18:20")
    await desk.acknowledge("victim advocate")
    await desk.take()
    return [("NH-0005", HOTLINE, done.referral_id)]


async def moving_on(member: Members, time: Timeline) -> Told:
    """NH-0006: Nevada declines and passes it on; Utah finds the person."""
    time.set(2, "20:40")
    step("NH-0006: Nevada declines, since she has left, and transfers to Utah", time)
    facts: Facts = {
        "urgency": V.URGENCY_TIME_SENSITIVE,
        "jurisdiction": "US-NV",
        "subject_age_group": V.AGE_GROUP_ADULT,
    }
    tip = time.sample("NH-0006")
    number = await register(member[HOTLINE], tip, **facts)
    time.set(2, "21:00")
    done = await member[HOTLINE].publish(
        tip,
        recipients=[NEVADA],
        basis=V.DISCLOSURE_BASIS_THIRD_PARTY_TIP,
        intake_numbers=[number],
        **facts,
    )
    nevada = await next_delivery(member[NEVADA])
    time.set(2, "21:25")
    await nevada.acknowledge("watch officer")
    await nevada.decline(V.DECLINE_REASON_NOT_OUR_JURISDICTION, UTAH)
    passed_on = await nevada.transfer(
        [UTAH], jurisdiction="US-UT", basis=V.DISCLOSURE_BASIS_AGENCY_TO_AGENCY
    )
    utah = await next_delivery(member[UTAH])
    time.set(2, "22:10")
    await utah.acknowledge("watch officer")
    await utah.take()
    await utah.report_outcome(V.OUTCOME_CODE_VICTIM_LOCATED_SAFE, closes=True)
    return [
        ("NH-0006", HOTLINE, done.referral_id),
        ("NH-0006-UTAH", HOTLINE, passed_on.child.referral_id),
    ]


async def late_and_tested(member: Members, time: Timeline) -> Told:
    """NH-0007, whose agency does not fetch it; OH-TEST-0008 in between."""
    time.set(3, "06:25")
    step("NH-0007: a massage business, no address; Mississippi's desk is down", time)
    facts: Facts = {
        "urgency": V.URGENCY_ROUTINE,
        "jurisdiction": "US-MS",
        "subject_age_group": V.AGE_GROUP_UNKNOWN,
    }
    tip = time.sample("NH-0007")
    number = await register(member[HOTLINE], tip, **facts)
    time.set(3, "08:00")
    basis = V.DISCLOSURE_BASIS_THIRD_PARTY_TIP
    first = await member[HOTLINE].publish(
        tip, recipients=[MISSISSIPPI], basis=basis, intake_numbers=[number], **facts
    )
    told = list(await tested(member, time))
    await alarm(member[OPERATOR], time, first.referral_id, (3, "10:01"), (3, "12:01"))
    time.set(5, "19:10")
    step("NH-0007: on day 2 a supplement adds the address", time)
    second = await member[HOTLINE].publish(
        time.sample("NH-0007-supplement"),
        recipients=[MISSISSIPPI],
        basis=basis,
        intake_numbers=[number],
        links=[
            statement_pb2.ReferralLink(
                kind=statement_pb2.REFERRAL_LINK_KIND_SUPPLEMENT_OF,
                referral_id=first.referral_id,
                referral_digest=first.referral.digest,
            )
        ],
        **facts,
    )
    await alarm(member[OPERATOR], time, second.referral_id, (5, "21:11"), (5, "23:11"))
    return [
        ("NH-0007", HOTLINE, first.referral_id),
        ("NH-0007-supplement", HOTLINE, second.referral_id),
        *told,
    ]


async def tested(member: Members, time: Timeline) -> Told:
    """OH-TEST-0008: a test, and its twin with one byte changed."""
    time.set(3, "09:00")
    step("OH-TEST-0008: a test goes the real way; its twin has one byte changed", time)
    facts: Facts = {
        "urgency": V.URGENCY_ROUTINE,
        "jurisdiction": "US-OH",
        "subject_age_group": V.AGE_GROUP_UNKNOWN,
    }
    tip = time.sample("OH-TEST-0008")
    number = await register(member[HOTLINE], tip, **facts)
    prepared = await member[HOTLINE].prepare_referral(
        tip,
        recipients=[OHIO],
        basis=V.DISCLOSURE_BASIS_NO_PERSONAL_DATA,
        intake_numbers=[number],
        **facts,
    )
    twin = type(prepared)(change_one_byte(prepared.referral), prepared.sealed_content)
    try:
        await member[HOTLINE].publish_prepared(twin)
    except OnwardError as refused:
        said(f"the twin is refused: {refused.reason_name}: {refused.message}")
    done = await member[HOTLINE].publish_prepared(prepared)
    desk = await next_delivery(member[OHIO])
    await desk.acknowledge("watch officer")
    await desk.take()
    await desk.report_outcome(V.OUTCOME_CODE_CLOSED_NO_DETAIL_RELEASED, closes=True)
    return [("OH-TEST-0008", HOTLINE, done.referral_id)]


async def withdrawn(member: Members, time: Timeline) -> Told:
    """NH-0005, day 6: the patient calls, and takes her consent back."""
    time.set(8, "10:00")
    step("NH-0005: on day 6 the patient takes her consent back, by telephone", time)
    received = member[VIRGINIA].list_referrals(referral_pb2.REFERRAL_SIDE_RECEIVED)
    async for view in received:
        retraction = await member[HOTLINE].retract(
            view.referral_id, V.RETRACTION_REASON_CONSENT_WITHDRAWN
        )
        said(f"retracted at once, by log entry {retraction.log_index}")
        time.set(8, "10:40")
        await member[VIRGINIA].reply_to_retraction(
            view.referral_id, V.RETRACTION_ACTION_RESTRICTED
        )
        said("Virginia answers: RESTRICTED")
    return []


async def delivered_at_last(member: Members, time: Timeline) -> Told:
    """NH-0007, day 41."""
    time.set(_LATE, "09:15")
    step("NH-0007: on day 41 Mississippi's desk is up again", time)
    async with aclosing(member[MISSISSIPPI].receive(max_outstanding=2)) as deliveries:
        desks = [await anext(deliveries), await anext(deliveries)]
    for desk in desks:
        if isinstance(desk, Incoming):
            await desk.acknowledge("intake officer")
            await desk.take()
            await desk.report_outcome(V.OUTCOME_CODE_INVESTIGATION_OPENED)
    return []


async def register(
    hotline: Client, tip: content_pb2.Tip, first_number: int = 1, **facts: Unpack[Facts]
) -> int:
    """Registers a tip; returns its number."""
    draft = IntakeDraft.of_tip(tip, **facts)
    done = await hotline.intakes.register(
        draft, tip.SerializeToString(deterministic=True), first_number=first_number
    )
    if not isinstance(done, Registered):
        message = f"the intake of {tip.reference} waits: {done.why}"
        raise TypeError(message)
    said(f"registered as intake {done.number}, log entry {done.intake.log_index}")
    return done.number


async def next_delivery(client: Client) -> Incoming:
    """Receives the next delivery, as a desk does."""
    async for item in client.receive(max_outstanding=1):
        if isinstance(item, Incoming):
            return item
        if isinstance(item, Invalid):
            break
    message = f"{client.member} got something that cannot be verified"
    raise RuntimeError(message)


async def alarm(
    operator: Client, time: Timeline, referral_id: str, *moments: tuple[int, str]
) -> None:
    """Goes to each moment, and waits for the alert that comes then."""
    async with aclosing(operator.alerts()) as alerts:
        for moment in moments:
            time.set(*moment)
            async for alert in alerts:
                await alert.done()
                if alert.statement.message.referral_id == referral_id:
                    said(f"{time.now():%b %d %H:%M}  {alert.kind}{about(alert.due)}")
                    break


def change_one_byte(statement: str) -> str:
    """Returns a statement with one character changed, so that it can still be read."""
    header, payload, signature = statement.split(".")
    for place in range(len(payload) - 2, 0, -1):
        other = "A" if payload[place] != "A" else "B"
        changed = f"{header}.{payload[:place]}{other}{payload[place + 1 :]}.{signature}"
        with suppress(MalformedError):
            parse_statement(changed)
            return changed
    message = "no byte of the statement can be changed"
    raise RuntimeError(message)
