import threading

import pytest

from poolproof.waiting import Event, EventStream, translated


def event(number: int = 0, what: str = "ready") -> Event:
    return Event(at_ns=number, source="a pool", subject="worker", what=what, who=number)


def test_a_subscriber_hears_what_is_published_after_it_came() -> None:
    stream, heard = EventStream(), list[Event]()
    stream.publish(event(1))
    stream.subscribe(heard.append)
    stream.publish(event(2))
    assert heard == [event(2)]


def test_whoever_unsubscribed_hears_nothing_more() -> None:
    stream, heard = EventStream(), list[Event]()
    stream.subscribe(heard.append)()
    stream.publish(event())
    assert heard == []


def test_what_a_callback_publishes_is_told_after_what_it_was_told() -> None:
    stream, heard = EventStream(), list[int]()

    def echo(it: Event) -> None:
        if it.at_ns == 1:
            stream.publish(event(2))

    stream.subscribe(echo)
    stream.subscribe(lambda it: heard.append(it.at_ns))
    stream.publish(event(1))
    assert heard == [1, 2]


def test_the_events_of_several_threads_reach_all_subscribers_in_one_order() -> None:
    stream, one, other = EventStream(), list[Event](), list[Event]()
    stream.subscribe(one.append)
    stream.subscribe(other.append)
    begin = threading.Barrier(4)

    def publish(first: int) -> None:
        begin.wait()
        for number in range(200):
            stream.publish(event(first + number))

    threads = [threading.Thread(target=publish, args=(1000 * number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert one == other == list(stream.since())


def test_events_that_are_published_together_stand_together() -> None:
    stream, heard = EventStream(), list[int]()

    def push_in(it: Event) -> None:
        if it.at_ns == 1:
            stream.publish(event(9))

    stream.subscribe(push_in)
    stream.subscribe(lambda it: heard.append(it.at_ns))
    stream.extend([event(1), event(2)])
    assert heard == [1, 2, 9]


def test_what_a_callback_raises_reaches_no_publisher_and_is_not_lost() -> None:
    stream, heard, wrong = EventStream(), list[Event](), ValueError("of a subscriber's own")

    def fail(it: Event) -> None:
        raise wrong

    stream.subscribe(fail)
    stream.subscribe(heard.append)
    stream.publish(event())
    assert (heard, stream.raised) == ([event()], (wrong,))


def test_a_mark_leads_to_what_came_after_it() -> None:
    stream = EventStream()
    stream.publish(event(1))
    mark = stream.count
    stream.publish(event(2))
    assert stream.since(mark) == (event(2),)


def test_a_stream_forgets_its_first_events_and_says_how_many() -> None:
    stream = EventStream()
    stream.extend(event(number) for number in range(10_003))
    assert (len(stream.since()), stream.forgotten, stream.since()[0]) == (10_000, 3, event(3))


def test_a_mark_of_what_is_forgotten_leads_to_all_that_is_remembered() -> None:
    stream = EventStream()
    stream.extend(event(number) for number in range(10_003))
    assert len(stream.since(1)) == 10_000


def test_an_event_reads_as_a_line() -> None:
    told = Event(at_ns=1_500_000_000, source="p", subject="worker", what="gone", who=3, pid=7, detail="SIGKILL")
    assert str(told) == "1.5000 p: worker 3 (pid 7) gone: SIGKILL"


class Foreign:
    at_s = 2.5
    subject = "session"
    what = "moved"
    worker = 4
    key = "k"
    operation = 0
    pid = 11
    detail = "its worker died"


def test_an_event_of_another_package_is_translated_by_the_names_of_its_attributes() -> None:
    assert translated(Foreign(), "p") == Event(
        at_ns=2_500_000_000, source="p", subject="session", what="moved", who="k", pid=11, detail="its worker died"
    )


def test_an_event_of_the_kit_is_not_translated() -> None:
    mine = event()
    assert translated(mine, "another") is mine


@pytest.mark.parametrize("thing", ["started", 7])
def test_whatever_else_is_published_is_an_event_of_the_pool_by_its_text(thing: object) -> None:
    told = translated(thing, "p")
    assert (told.source, told.subject, told.what) == ("p", "pool", str(thing))
