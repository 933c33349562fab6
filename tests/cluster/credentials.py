"""Keys, certificates and kubeconfigs of one cluster, made on the spot and thrown away with it.

One authority signs the API server's certificate and every user's: a user is a certificate with a name and groups, so
that a role under test needs no restart of the server. Administrators also get a bearer token, for plain HTTP clients.
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ADMIN_GROUP = "system:masters"
LIFETIME = datetime.timedelta(days=30)
CLOCK_SKEW = datetime.timedelta(minutes=5)


@dataclass(frozen=True)
class Credentials:
    """The files of one cluster's directory that prove who is who; `create` makes them, any process may read them."""

    directory: Path

    @classmethod
    def create(cls, directory: Path, addresses: Sequence[str]) -> Credentials:
        """Make everything that the API server needs to serve under the given IP addresses."""
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o700)
        credentials = cls(directory)
        authority_key = _write_key(credentials.authority_key)
        _write_key(credentials.service_account_key)
        names: list[x509.GeneralName] = [
            x509.DNSName(name) for name in ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
        ]
        names += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
        builder = _certificate(_name("cluster-authority"), _name("cluster-authority"), authority_key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        _write_certificate(credentials.authority, builder.sign(authority_key, hashes.SHA256()))
        server_key = _write_key(credentials.server_key)
        builder = _certificate(_name("cluster-authority"), _name("kube-apiserver"), server_key.public_key())
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        _write_certificate(credentials.server, builder.sign(authority_key, hashes.SHA256()))
        _write_certificate(
            credentials.kubelet_client,
            credentials._sign_user(_write_key(credentials.kubelet_client_key), "kubelet-client", [ADMIN_GROUP]),
        )
        token = secrets.token_urlsafe(24)
        credentials.token_file.write_text(f'{token},admin,admin,"{ADMIN_GROUP}"\n')
        credentials.token_file.chmod(0o600)
        return credentials

    @property
    def authority(self) -> Path:
        return self.directory / "authority.crt"

    @property
    def authority_key(self) -> Path:
        return self.directory / "authority.key"

    @property
    def server(self) -> Path:
        return self.directory / "server.crt"

    @property
    def server_key(self) -> Path:
        return self.directory / "server.key"

    @property
    def kubelet_client(self) -> Path:
        return self.directory / "kubelet-client.crt"

    @property
    def kubelet_client_key(self) -> Path:
        return self.directory / "kubelet-client.key"

    @property
    def service_account_key(self) -> Path:
        return self.directory / "service-account.key"

    @property
    def token_file(self) -> Path:
        return self.directory / "tokens.csv"

    def admin_token(self) -> str:
        return self.token_file.read_text().partition(",")[0]

    def write_token_kubeconfig(self, path: Path, url: str, token: str) -> Path:
        """A kubeconfig with a bearer token."""
        return self._write_kubeconfig(path, url, {"token": token})

    def write_user_kubeconfig(self, path: Path, url: str, user: str, groups: Sequence[str]) -> Path:
        """A kubeconfig with a new certificate for `user` as a member of `groups`."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign_user(key, user, groups)
        entry = {
            "client-certificate-data": _base64(certificate.public_bytes(serialization.Encoding.PEM)),
            "client-key-data": _base64(_private_pem(key)),
        }
        return self._write_kubeconfig(path, url, entry)

    def _sign_user(self, key: ec.EllipticCurvePrivateKey, user: str, groups: Sequence[str]) -> x509.Certificate:
        authority_key = serialization.load_pem_private_key(self.authority_key.read_bytes(), password=None)
        assert isinstance(authority_key, ec.EllipticCurvePrivateKey)
        builder = _certificate(_name("cluster-authority"), _name(user, groups), key.public_key())
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        return builder.sign(authority_key, hashes.SHA256())

    def _write_kubeconfig(self, path: Path, url: str, user: dict[str, str]) -> Path:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "cluster",
            "contexts": [{"name": "cluster", "context": {"cluster": "cluster", "user": "user"}}],
            "clusters": [
                {
                    "name": "cluster",
                    "cluster": {"server": url, "certificate-authority-data": _base64(self.authority.read_bytes())},
                }
            ],
            "users": [{"name": "user", "user": user}],
        }
        path.touch(mode=0o600)
        path.write_text(json.dumps(config, indent=1))  # JSON is YAML: every client reads it
        return path


def _name(common_name: str, organizations: Sequence[str] = ()) -> x509.Name:
    groups = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in organizations]
    return x509.Name([*groups, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _certificate(issuer: x509.Name, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + LIFETIME)
    )


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())


def _write_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = ec.generate_private_key(ec.SECP256R1())
    path.touch(mode=0o600)
    path.write_bytes(_private_pem(key))
    return key


def _write_certificate(path: Path, certificate: x509.Certificate) -> None:
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
