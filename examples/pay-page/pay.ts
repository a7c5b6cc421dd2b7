import { newIdempotencyKey, retryingFetch } from '../../lib/client.ts'; // outside this repository: from 'idemkit/client'

/** A payment that the user wants to make once. */
interface Payment {
  readonly order: string;
  /** The page sends it with each request for this payment: clicks, retries, and requests after a reload. */
  readonly key: string;
  readonly isBegun: boolean;
}

// --- The payment, and its key ---

const slot = 'payment';

/** The payment that a reload has interrupted, with the key that it had before. */
function restoredPayment(): Payment | undefined {
  const stored = sessionStorage.getItem(slot);
  return stored === null ? undefined : JSON.parse(stored);
}

function newPayment(order: string = newOrder()): Payment {
  return stored({ order, key: newIdempotencyKey(), isBegun: false });
}

function stored(payment: Payment): Payment {
  sessionStorage.setItem(slot, JSON.stringify(payment));
  return payment;
}

/** Whether the answer says what became of the payment. If not, the next click is for the same payment. */
const isFinal = ({ status }: Response): boolean => status < 500 && ![408, 409, 425, 429].includes(status);

async function send({ order, key }: Payment, click: number): Promise<Response> {
  const network = new Network(click, flaky.checked);
  const init = {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ customer: customerOf(order), amount: 4200, currency: 'EUR' }),
  };
  if (!withKey.checked) return fetchAgain(network, init);
  return retryingFetch(paymentsUrl, init, {
    key,
    fetch: network.fetch,
    onRetry: ({ delayMs }) => network.note(`asks again in ${(delayMs / 1000).toFixed(1)} s`),
  });
}

/** How a page without keys retries. */
async function fetchAgain(network: Network, init: RequestInit): Promise<Response> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await network.fetch(paymentsUrl, init);
    } catch (error) {
      if (attempt === 3) throw error;
      network.note('sends it again, as a new one');
    }
  }
}

// --- The page ---

const pay = element('pay', HTMLButtonElement);
const next = element('next', HTMLButtonElement);
const withKey = element('with-key', HTMLInputElement);
const flaky = element('flaky', HTMLInputElement);
const requests = element('requests', HTMLTableSectionElement);
const headings = [...document.querySelectorAll('thead th')].map(({ textContent }) => textContent);

let payment: Payment;
let clicks = 0;

pay.addEventListener('click', () => {
  if (pay.ariaDisabled !== 'true') void onPay();
});
next.addEventListener('click', () => {
  requests.replaceChildren();
  clicks = 0;
  show(newPayment());
  pay.focus();
});
for (const input of [withKey, flaky]) {
  input.checked = (sessionStorage.getItem(input.id) ?? String(input.checked)) === 'true';
  input.addEventListener('change', () => sessionStorage.setItem(input.id, String(input.checked)));
}

function show(shown: Payment): void {
  payment = shown;
  element('order').textContent = shown.order;
  pay.ariaDisabled = 'false';
  next.hidden = true;
  say(
    shown.isBegun
      ? 'You have begun to pay this order, and it is not known what became of it. Press Pay: with its key it is the same payment.'
      : '',
  );
  void showLedger();
}

async function onPay(): Promise<void> {
  const paying = stored({ ...payment, isBegun: true });
  payment = paying;
  say('Paying …');
  const response = await send(paying, ++clicks).catch(() => undefined);
  await showLedger();
  // Another click was faster, or the user has begun another order.
  if (payment.key !== paying.key || pay.ariaDisabled === 'true') return;
  if (response?.ok) {
    sessionStorage.removeItem(slot);
    pay.ariaDisabled = 'true';
    next.hidden = false;
    say('Paid. Thank you!');
  } else if (response && isFinal(response)) {
    payment = newPayment(paying.order);
    say(`Refused, with status ${response.status}.`);
  } else {
    say('No answer. Whether you have paid is not known: press Pay again.');
  }
}

async function showLedger(): Promise<void> {
  const { order } = payment;
  const charges = await readJson<{ id: string }[]>(`charges?customer=${customerOf(order)}`);
  if (order !== payment.order) return;
  element('charges').textContent = String(charges.length);
  element('charges-unit').textContent = `${charges.length === 1 ? 'charge' : 'charges'} for this order`;
  element('tally').dataset.charges = ['none', 'once'][charges.length] ?? 'twice';
  element('ledger').replaceChildren(
    ...charges.map(({ id }) => {
      const item = document.createElement('li');
      item.textContent = `EUR 42.00, ${short(id)}`;
      return item;
    }),
  );
}

/** The network of one click. It lists each request on the page. If it is flaky, it loses the first answer. */
class Network {
  readonly #click: number;
  #isToLose: boolean;
  #then: HTMLTableCellElement | undefined;

  constructor(click: number, isFlaky: boolean) {
    this.#click = click;
    this.#isToLose = isFlaky;
  }

  readonly fetch = async (input: string | Request, init?: RequestInit): Promise<Response> => {
    const row = requests.insertRow();
    const cell = (text: string): HTMLTableCellElement => {
      const added = row.insertCell();
      added.textContent = text;
      // On a narrow screen the table has no head, so each cell shows its heading.
      added.dataset.label = headings[added.cellIndex] ?? '';
      return added;
    };
    cell(String(this.#click));
    cell(short(new Headers(init?.headers).get('Idempotency-Key') ?? 'none'));
    const answer = cell('…');
    const replayed = cell('');
    const retryAfter = cell('');
    const charge = cell('');
    this.#then = cell('');

    const response = await fetch(input, init).catch((error) => {
      answer.textContent = 'none';
      throw error;
    });
    const body = await response
      .clone()
      .json()
      .catch(() => ({}));
    if (this.#isToLose) {
      this.#isToLose = false;
      answer.textContent = `lost (${response.status})`;
      throw new TypeError('The answer was lost.');
    }
    answer.textContent = String(response.status);
    replayed.textContent = response.headers.get('Idempotent-Replayed') === 'true' ? 'yes' : 'no';
    retryAfter.textContent = secondsOf(response.headers.get('Retry-After'));
    charge.textContent = short(body.id ?? '');
    return response;
  };

  /** Notes beside the latest request what the page does next. */
  note(text: string): void {
    if (this.#then) this.#then.textContent = text;
  }
}

const secondsOf = (retryAfter: string | null): string => (retryAfter === null ? '' : `${retryAfter} s`);

/** The end of an id, enough to tell one from another. */
const short = (id: string): string => (id.length > 12 ? `…${id.slice(-8)}` : id);

const newOrder = (): string =>
  String((crypto.getRandomValues(new Uint32Array(1))[0] ?? 0) % 1_000_000).padStart(6, '0');

/** Each order has its own customer, so that the page can find its charges. */
const customerOf = (order: string): string => `guest-${order}`;

const say = (text: string): void => {
  element('status').textContent = text;
};

async function readJson<T>(path: string): Promise<T> {
  const response = await fetch(path);
  return (await response.json()) as T;
}

function element<T extends HTMLElement>(id: string, type?: new () => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof (type ?? HTMLElement))) throw new Error(`The page has no ${id}.`);
  return found as T;
}

// --- The start. It comes last, because it needs all of the above ---

const { paymentsUrl } = await readJson<{ paymentsUrl: string }>('config.json');
element('page-origin').textContent = location.origin;
element('api-origin').textContent = new URL(paymentsUrl).origin;
show(restoredPayment() ?? newPayment());
