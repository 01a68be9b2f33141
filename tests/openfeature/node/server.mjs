// Prints, as JSON, what OpenFeature's client for Node makes of the flags at the URL it is given.
import { OpenFeature } from '@openfeature/server-sdk';
import { OFREPProvider } from '@openfeature/ofrep-provider';

const [baseUrl, user] = process.argv.slice(2);
await OpenFeature.setProviderAndWait(new OFREPProvider({ baseUrl }));
const client = OpenFeature.getClient();
const unit = { targetingKey: user, country: 'DE' };

const found = {
  'is-new': await client.getBooleanDetails('is-new', false, unit),
  title: await client.getStringDetails('title', '', unit),
  slots: await client.getNumberDetails('slots', 0, unit),
  price: await client.getNumberDetails('price', 0, unit),
  layout: await client.getObjectDetails('layout', {}, unit),
  order: await client.getObjectDetails('order', [], unit),
  closed: await client.getStringDetails('closed', 'mine', unit),
  draft: await client.getStringDetails('draft', 'mine', unit),
  'by-impression': await client.getStringDetails('by-impression', 'mine', unit),
  missing: await client.getStringDetails('missing', 'mine', unit),
  noUnit: await client.getStringDetails('title', 'mine', {}),
  otherType: await client.getStringDetails('slots', 'mine', unit),
};
console.log(JSON.stringify(found));
await OpenFeature.close();
