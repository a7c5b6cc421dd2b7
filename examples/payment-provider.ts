/** What a customer buys, and for how much. */
export interface Order {
  readonly customer: string;
  /** In the currency's smallest unit: 4200 is EUR 42.00. */
  readonly amount: number;
  readonly currency: string;
  /** The article. @default 'book' */
  readonly sku?: string;
}

/** A charge that the payment provider has made. */
export interface Charge extends Order {
  readonly id: string;
}

/**
 * Charges a card once for each `token`. Without a token, every call is one more charge.
 *
 * @returns `undefined` if the card was declined
 */
export async function charge(order: Order, token?: string): Promise<Charge | undefined> {
  const { PAYMENTS_URL } = process.env;
  if (!PAYMENTS_URL) throw new Error("Set PAYMENTS_URL to the payment provider's address.");
  const response = await fetch(new URL('/charges', PAYMENTS_URL), {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(token !== undefined && { 'idempotency-key': token }) },
    body: JSON.stringify(order),
  });
  if (response.status === 402) return undefined;
  if (!response.ok) throw new Error(`The payment provider answered ${response.status}.`);
  return (await response.json()) as Charge;
}
