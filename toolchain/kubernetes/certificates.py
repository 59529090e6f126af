"""The cluster's certificates, and the kubeconfigs that carry them."""

import base64
import datetime as dt
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAYS = 30
"""How long certificates hold: longer than a cluster for tests is kept."""

ADMINISTRATORS = "system:masters"


@dataclass(frozen=True)
class Authority:
    """Signs the certificates of one cluster; its files are `ca.crt` and `ca.key` in `folder`."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> "Authority":
        """A new one, in an existing folder."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hubstack test cluster")])
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        certificate = (
            _valid(x509.CertificateBuilder())
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        _write(folder / "ca.key", _pem(key))
        _write(folder / "ca.crt", certificate.public_bytes(serialization.Encoding.PEM))
        return cls(folder)

    def sign(self, user: str, groups: Sequence[str] = (), *, serves: Sequence[str] = ()) -> tuple[bytes, bytes]:
        """A certificate and its key, in PEM.

        Args:
            user: whom it names.
            groups: the user's groups, as Kubernetes reads them.
            serves: host names and addresses for which its holder is a server. Default: it is a client alone.
        """
        issuer = x509.load_pem_x509_certificate((self.folder / "ca.crt").read_bytes())
        issuer_key = serialization.load_pem_private_key((self.folder / "ca.key").read_bytes(), None)
        assert isinstance(issuer_key, ec.EllipticCurvePrivateKey)
        key = ec.generate_private_key(ec.SECP256R1())
        names = [
            *(x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups),
            x509.NameAttribute(NameOID.COMMON_NAME, user),
        ]
        purposes = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if serves else [])]
        builder = (
            _valid(x509.CertificateBuilder())
            .subject_name(x509.Name(names))
            .issuer_name(issuer.subject)
            .public_key(key.public_key())
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        )
        if serves:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_general_name(name) for name in serves]), critical=False
            )
        return builder.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM), _pem(key)

    def write(self, name: str, user: str, groups: Sequence[str] = (), *, serves: Sequence[str] = ()) -> None:
        """Put a certificate and its key into the folder as `<name>.crt` and `<name>.key`."""
        certificate, key = self.sign(user, groups, serves=serves)
        _write(self.folder / f"{name}.crt", certificate)
        _write(self.folder / f"{name}.key", key)

    def kubeconfig(self, server: str, user: str, groups: Sequence[str] = ()) -> str:
        """Credentials of a user, complete in one file."""
        certificate, key = self.sign(user, groups)
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "hubstack",
                    "cluster": {
                        "server": server,
                        "certificate-authority-data": _base64((self.folder / "ca.crt").read_bytes()),
                    },
                }
            ],
            "users": [
                {
                    "name": user,
                    "user": {"client-certificate-data": _base64(certificate), "client-key-data": _base64(key)},
                }
            ],
            "contexts": [{"name": "hubstack", "context": {"cluster": "hubstack", "user": user}}],
            "current-context": "hubstack",
        }
        return yaml.safe_dump(content, sort_keys=False)


def write_key_pair(folder: Path, name: str) -> None:
    """The keys that sign the tokens of service accounts: `<name>.key` and `<name>.pub`."""
    key = ec.generate_private_key(ec.SECP256R1())
    _write(folder / f"{name}.key", _pem(key))
    public = key.public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    _write(folder / f"{name}.pub", public.public_bytes(serialization.Encoding.PEM, form))


def _valid(builder: x509.CertificateBuilder) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    # A clock that was set back a little does not end the cluster.
    return (
        builder.serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=DAYS))
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _write(path: Path, data: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(data)
