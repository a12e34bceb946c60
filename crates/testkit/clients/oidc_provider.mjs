// Somebody else's authorization server: npm `oidc-provider` (certified for OpenID Connect) on a loopback port.
// Usage: oidc_provider.mjs PORT OPTIONS, where OPTIONS is JSON:
//   { "registration": whether clients may register themselves,
//     "clients": [{ client_id, client_secret, redirect_uris, … }] that it knows from the start,
//     "opaque": whether access tokens are opaque, to be introspected }
// Its own pages let anybody in by name: `login` becomes the subject; `roles` of its tokens are what `ROLES` says.

import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { Provider } from 'oidc-provider';

const [port, options] = [Number(process.argv[2]), JSON.parse(process.argv[3] ?? '{}')];
const issuer = `http://127.0.0.1:${port}`;
const ROLES = { alice: ['reader'], olga: ['gate-admins'] };
const key = (type, parameters, alg, kid) => ({
    ...generateKeyPairSync(type, parameters).privateKey.export({ format: 'jwk' }), alg, kid, use: 'sig',
});

const provider = new Provider(issuer, {
    clients: options.clients ?? [],
    jwks: { keys: [key('ec', { namedCurve: 'P-256' }, 'ES256', 'ec'), key('rsa', { modulusLength: 2048 }, 'RS256', 'rsa')] },
    cookies: { keys: [randomBytes(32).toString('hex')] },
    claims: { openid: ['sub', 'roles', 'name'] },
    scopes: ['openid', 'offline_access', 'mcp:tools', 'mcp:prompts', 'mcp:resources'],
    pkce: { required: () => true },
    clientAuthMethods: ['none', 'client_secret_basic', 'client_secret_post', 'private_key_jwt'],
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, name: id, roles: ROLES[id] ?? [] }) }),
    extraTokenClaims: (_, token) => ({ roles: ROLES[token.accountId] ?? ['machine'] }),
    features: {
        registration: { enabled: options.registration ?? true },
        introspection: { enabled: true, allowedPolicy: () => true },
        revocation: { enabled: true },
        clientCredentials: { enabled: true },
        dPoP: { enabled: true },
        resourceIndicators: {
            enabled: true,
            defaultResource: () => undefined,
            useGrantedResource: () => true,
            getResourceServerInfo: (_, resource) => ({
                scope: 'mcp:tools mcp:prompts mcp:resources',
                audience: resource,
                accessTokenTTL: 600,
                accessTokenFormat: options.opaque ? 'opaque' : 'jwt',
                ...(!options.opaque && { jwt: { sign: { alg: options.alg ?? 'ES256' } } }),
            }),
        },
    },
    ttl: { AccessToken: 600, AuthorizationCode: 60, IdToken: 600, Grant: 3600, Interaction: 600, Session: 3600, RefreshToken: 3600, ClientCredentials: 600 },
});
provider.on('server_error', (_, error) => console.error('server_error', error));
for (const event of ['authorization.error', 'grant.error', 'registration_create.error', 'introspection.error']) {
    provider.on(event, (_, error) => console.error(event, error.error, error.error_description, error.error_detail ?? ''));
}
provider.listen(port, '127.0.0.1');
