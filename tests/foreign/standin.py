"""A stand-in of the original's server, with the manners that were seen on it.

    standin.py PORT [KEY=TYPE=VALUE...]

`Sync` fails for every key. `Subscribe` to one key that exists sends its value and then what it becomes; to two keys,
none or an unknown one it never says anything, not even headers. `PushUpdate` takes everything, and what comes without a
time reaches nobody. Lines on standard input: `set KEY TYPE VALUE`, answered with `ok`; `counts`, answered with how often
each list of keys was subscribed to in this life, as JSON. It ends with its standard input.
"""

import asyncio
import json
import sys
from collections import Counter

import grpc
import original_pb2 as pb
import original_pb2_grpc
from google.protobuf import empty_pb2


class Service(original_pb2_grpc.DataServiceServicer):
    def __init__(self, values):
        self.values = values
        self.changed = asyncio.Condition()
        self.counts = Counter()

    async def put(self, key, value_type, value):
        async with self.changed:
            self.values[key] = pb.Data(key=key, value=value, value_type=value_type)
            self.changed.notify_all()

    async def ListCapabilities(self, request, context):
        listed = [pb.Capability(key=key, value_type=data.value_type) for key, data in self.values.items()]
        return pb.ListCapabilitiesResponse(capabilities=listed)

    async def Sync(self, request, context):
        if request.keys:
            await context.abort(grpc.StatusCode.INTERNAL, "unsupported Scan")
        return pb.DataResponse()

    async def Subscribe(self, request, context):
        self.counts[",".join(request.keys)] += 1
        if len(request.keys) != 1 or request.keys[0] not in self.values:
            await asyncio.Event().wait()
        key, sent = request.keys[0], None
        while True:
            async with self.changed:
                await self.changed.wait_for(lambda: self.values[key] is not sent)
                sent = self.values[key]
            yield pb.DataResponse(data={key: sent})

    async def PushUpdate(self, request, context):
        if request.HasField("updated_at"):
            await self.put(request.key, request.value_type, request.value)
        return empty_pb2.Empty()


async def obey(service):
    """Does what standard input says, until it ends."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := (await lines.readline()).decode():
        match line.split():
            case ["set", key, value_type, value]:
                await service.put(key, value_type, value.encode())
                print("ok", flush=True)
            case ["counts"]:
                print(json.dumps(service.counts), flush=True)


async def main():
    entries = [entry.split("=") for entry in sys.argv[2:]]
    values = {key: pb.Data(key=key, value=value.encode(), value_type=kind) for key, kind, value in entries}
    service = Service(values)
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    original_pb2_grpc.add_DataServiceServicer_to_server(service, server)
    server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    await server.start()
    print("ok", flush=True)
    await obey(service)
    await server.stop(None)


if __name__ == "__main__":
    asyncio.run(main())
