export interface Order {
  readonly customer: string;
  /** In the currency's smallest unit: 4200 is EUR 42.00. */
  readonly amount: number;
  readonly currency: string;
}

export interface Charge extends Order {
  readonly id: string;
}

/** Books a charge in the payment provider's ledger. Every call is one more charge: this is the side effect. */
export async function charge(order: Order): Promise<Charge> {
  const { PAYMENTS_URL } = process.env;
  if (!PAYMENTS_URL) throw new Error("Set PAYMENTS_URL to the payment provider's address.");
  const response = await fetch(new URL('/charges', PAYMENTS_URL), {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(order),
  });
  if (!response.ok) throw new Error(`The payment provider answered ${response.status}.`);
  return (await response.json()) as Charge;
}
