"""The address of a Ray cluster, checked before Ray tries it and waits for many minutes."""

import socket

from rubert_ood.errors import SettingsError

CONNECT_TIMEOUT_S = 10
ANSWER_TIMEOUT_S = 15
WORDS = ("auto", "local")
CLIENT = "ray://"


def check_address(address: str, setting: str) -> None:
    """Refuse an address where no cluster answers in half a minute; name the setting."""
    if address in WORDS:
        return
    scheme, _, place = address.rpartition("://")
    if scheme in ("http", "https"):
        raise SettingsError(
            f"{setting}: {address} is the address of the dashboard (for `ray"
            " job submit`). Use HOST:6379, ray://HOST:10001 or auto"
        )
    host, _, port = place.rpartition(":")
    if (
        scheme not in ("", "ray")
        or not host
        or not port.isdigit()
        or not 0 < int(port) < 2**16
    ):
        raise SettingsError(
            f"{setting}: {address} is not an address. Use HOST:6379,"
            " ray://HOST:10001, auto or local"
        )
    try:
        socket.create_connection(
            (host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT_S
        ).close()
    except OSError as error:
        raise SettingsError(
            f"{setting}: no Ray cluster answers at {address} ({error}). Start"
            " it, or correct the address"
        ) from error
    _check_answer(place, f"{setting}: {address}", is_client=bool(scheme))


def _check_answer(place: str, named: str, *, is_client: bool) -> None:
    """Ask for gRPC, then, where the GCS should be, whether it lives."""
    import grpc
    from ray._private.grpc_utils import init_grpc_channel
    from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

    channel = init_grpc_channel(place)
    try:
        grpc.channel_ready_future(channel).result(timeout=ANSWER_TIMEOUT_S)
        if not is_client:
            service = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)
            service.CheckAlive(
                gcs_service_pb2.CheckAliveRequest(), timeout=ANSWER_TIMEOUT_S
            )
    except grpc.FutureTimeoutError as error:
        raise SettingsError(
            f"{named} answers, but is not a Ray cluster. Correct the address"
        ) from error
    except grpc.RpcError as error:
        code = error.code()
        if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
            reason = (
                "the cluster refuses the token. Set RAY_AUTH_MODE and"
                " RAY_AUTH_TOKEN_PATH as on its nodes"
            )
        elif code == grpc.StatusCode.UNIMPLEMENTED:
            reason = (
                "this port is not that of the cluster's GCS. Use port"
                " 6379, or ray:// with port 10001"
            )
        else:
            reason = (
                f"the cluster does not answer ({code.name}). Check that its head"
                " node runs"
            )
        raise SettingsError(f"{named}: {reason}") from error
    finally:
        channel.close()
