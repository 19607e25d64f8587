"""A foreign client: Python, and stubs of the original contract, against the server at the address given.

The server is fresh, and holds the three sample settings. Prints a PASS line for each law and exits with 1 at the
first that does not hold.
"""

import sys
import time

import grpc
import original_pb2 as pb
import original_pb2_grpc

DEADLINE = 10  # seconds, for each call and for each message of a stream
SAMPLES = {"max_connections": b"10", "rate_limit": b"1000", "debug_enabled": b"false"}


class Subscription:
    """A stream, read until it has said what is waited for."""

    def __init__(self, stub, *keys):
        self.call = stub.Subscribe(pb.DataRequest(keys=keys), timeout=DEADLINE)
        self.messages = []

    def next(self):
        """The values of the next message. An original server sends none that is empty."""
        message = next(self.call)
        check(message.data, "a message to a client of the original is never empty")
        check(all(key == data.key for key, data in message.data.items()), "an entry names its own key")
        self.messages.append({key: data.value for key, data in message.data.items()})
        return self.messages[-1]

    def until(self, wanted):
        """Reads on until `wanted` was seen, over as many messages as it takes."""
        seen = {}
        while any(seen.get(key) != value for key, value in wanted.items()):
            seen.update(self.next())
        return seen


def check(holds, law):
    if not holds:
        print(f"FAIL {law}")
        sys.exit(1)


def passed(law):
    print(f"PASS {law}")


def push(stub, key, value, value_type="int"):
    stub.PushUpdate(pb.Data(key=key, value=value, value_type=value_type), timeout=DEADLINE)


def lists(stub):
    listed = stub.ListCapabilities(pb.ListCapabilitiesRequest(), timeout=DEADLINE).capabilities
    check(
        [(one.key, one.value_type) for one in listed]
        == [("debug_enabled", "bool"), ("max_connections", "int"), ("rate_limit", "int")],
        "the sample settings are listed with their types",
    )
    passed("ListCapabilities lists keys and types")


def syncs(stub):
    answer = stub.Sync(pb.DataRequest(keys=SAMPLES), timeout=DEADLINE).data
    check({key: data.value for key, data in answer.items()} == SAMPLES, "the sample values are read")
    age = time.time() - answer["rate_limit"].updated_at.seconds
    check(-60 < age < 3600, "updated_at is the time of the server")
    check(
        stub.Sync(pb.DataRequest(keys=["not/there"]), timeout=DEADLINE).data == {},
        "a key that does not exist is left out, and is no error",
    )
    passed("Sync reads values, leaves out what does not exist, and stamps the time")


def subscribes_to_one_key(stub):
    one = Subscription(stub, "max_connections")
    check(one.next() == {"max_connections": b"10"}, "the present value comes first")
    push(stub, "rate_limit", b"999")
    push(stub, "max_connections", b"20")
    check(one.next() == {"max_connections": b"20"}, "a change comes, and nothing of other keys")
    one.call.cancel()
    passed("Subscribe to one key: the present value, then its changes")


def subscribes_to_three_keys(stub):
    three = Subscription(stub, *SAMPLES)
    check(
        three.next() == {"max_connections": b"20", "rate_limit": b"999", "debug_enabled": b"false"},
        "the present values come in one message",
    )
    push(stub, "debug_enabled", b"true", "bool")
    push(stub, "rate_limit", b"1001")
    push(stub, "max_connections", b"30")
    three.until({"debug_enabled": b"true", "rate_limit": b"1001", "max_connections": b"30"})
    three.call.cancel()
    passed("Subscribe to three keys: all present values, then the changes of each")


def subscribes_to_a_prefix(stub):
    prefix = Subscription(stub, "web/")
    push(stub, "webserver", b"1")
    push(stub, "web/port", b"80")
    check(prefix.next() == {"web/port": b"80"}, "a key born below the prefix comes, and its neighbour does not")
    push(stub, "web/tls/port", b"443")
    check(prefix.next() == {"web/tls/port": b"443"}, "so does one deeper below")
    prefix.call.cancel()
    passed("Subscribe to a prefix: what is born below it")


def subscribes_before_there_is_anything(stub):
    call = stub.Subscribe(pb.DataRequest(keys=["later"]), timeout=DEADLINE)
    call.initial_metadata()  # The original's server never sent them: its clients hung here.
    push(stub, "later", b"now", "string")
    check(next(call).data["later"].value == b"now", "it arrives when it is born")
    call.cancel()
    passed("Subscribe to a key that does not exist: headers at once, the value when it is born")


def pushes(stub):
    push(stub, "max_connections", b"31")
    answer = stub.Sync(pb.DataRequest(keys=["max_connections"]), timeout=DEADLINE)
    check(answer.data["max_connections"].value == b"31", "an acknowledged push is read by all")
    check(refused(stub, "max_connections", b"many", "int"), "a value outside its type is refused")
    check(refused(stub, "../etc/passwd", b"1", "int"), "a string that is no key is refused")
    passed("PushUpdate: read when acknowledged, refused when it is wrong")


def refused(stub, key, value, value_type):
    try:
        push(stub, key, value, value_type)
    except grpc.RpcError as error:
        return error.code() == grpc.StatusCode.INVALID_ARGUMENT and value.decode() not in error.details()
    return False


def main():
    with grpc.insecure_channel(sys.argv[1]) as channel:
        stub = original_pb2_grpc.DataServiceStub(channel)
        for law in (
            lists,
            syncs,
            subscribes_to_one_key,
            subscribes_to_three_keys,
            subscribes_to_a_prefix,
            subscribes_before_there_is_anything,
            pushes,
        ):
            law(stub)


if __name__ == "__main__":
    main()
