// Prints as JSON what Azure's libraries for JavaScript get. Arguments: a class of @azure/identity, its options as JSON, and
// token RESOURCE, blob CONTAINER-URL TEXT or secret VAULT-URL NAME.
import * as identity from "@azure/identity";

const uses = {
  async token(credential, resource) {
    const got = await credential.getToken(`${resource}/.default`);
    return { token: got.token, expires: got.expiresOnTimestamp };
  },
  async blob(credential, url, text) {
    const { ContainerClient } = await import("@azure/storage-blob");
    const container = new ContainerClient(url, credential, { retryOptions: { maxTries: 1 } });
    await container.create();
    const blob = container.getBlockBlobClient("blob");
    await blob.upload(text, Buffer.byteLength(text));
    return { value: (await blob.downloadToBuffer()).toString() };
  },
  async secret(credential, url, name) {
    const { SecretClient } = await import("@azure/keyvault-secrets");
    const vault = new SecretClient(url, credential, { disableChallengeResourceVerification: true, retryOptions: { maxRetries: 0 } });
    const before = await vault.getSecret(name);
    await vault.setSecret(name, `${before.value} again`);
    return { value: (await vault.getSecret(name)).value };
  },
};

const [name, options, use, ...args] = process.argv.slice(2);
let got;
try {
  got = await uses[use](new identity[name](JSON.parse(options)), ...args);
} catch (e) {
  got = { error: `${e.name}: ${e.message}` };
}
console.log(JSON.stringify(got));
