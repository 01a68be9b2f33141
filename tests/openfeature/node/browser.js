// Runs in a page of another origin: evaluates the flags, then again after an event of the stream,
// and posts what it found to the page's own server.
import { OpenFeature, ProviderEvents } from '@openfeature/web-sdk';
import { OFREPWebProvider } from '@openfeature/ofrep-web-provider';

const query = new URLSearchParams(location.search);
const report = (path, found) =>
  fetch(path, { method: 'POST', body: JSON.stringify(found) });

async function run() {
  const apiKey = query.get('key');
  await OpenFeature.setContext({ targetingKey: query.get('user'), country: 'DE' });
  await OpenFeature.setProviderAndWait(
    new OFREPWebProvider({
      baseUrl: query.get('api'),
      headers: [['X-API-Key', apiKey]],
      cacheMode: 'disabled',
    }),
  );
  const client = OpenFeature.getClient();
  const all = () => ({
    'is-new': client.getBooleanDetails('is-new', false),
    title: client.getStringDetails('title', ''),
    slots: client.getNumberDetails('slots', 0),
    price: client.getNumberDetails('price', 0),
    layout: client.getObjectDetails('layout', {}),
    order: client.getObjectDetails('order', []),
    closed: client.getStringDetails('closed', 'mine'),
    draft: client.getStringDetails('draft', 'mine'),
    'by-impression': client.getStringDetails('by-impression', 'mine'),
    missing: client.getStringDetails('missing', 'mine'),
  });
  client.addHandler(ProviderEvents.ConfigurationChanged, (details) => {
    const changed = [...(details.flagsChanged ?? [])].sort();
    report('/changed', { changed, at: Date.now(), flags: all() });
  });
  await report('/first', { flags: all() });
}

run().catch((error) => report('/first', { error: String(error) }));
