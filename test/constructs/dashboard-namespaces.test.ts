import { CfnParameter, type Stack } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import { describe, expect, it } from 'vitest';
import {
  IdempotencyDashboard,
  type IdempotencyDashboardProps,
  IdempotencyTable,
} from '../../constructs/index.ts';
import { createStack } from './support.ts';

function create(
  namespaces: readonly string[],
  props: Partial<IdempotencyDashboardProps> = {},
  stack: Stack = createStack(),
) {
  const table = new IdempotencyTable(stack, 'Idempotency', { alarms: false });
  const dashboard = new IdempotencyDashboard(stack, 'Guards', { table, namespaces, ...props });
  return { stack, dashboard, template: Template.fromStack(stack) };
}

const alarmed = (template: Template): unknown[] =>
  Object.values(template.findResources('AWS::CloudWatch::Alarm')).flatMap(({ Properties }) =>
    Properties.MetricName === 'Unrecorded' ? [Properties.Dimensions[0].Value] : [],
  );

interface DashboardBody {
  readonly widgets: readonly { readonly properties: { title: string; metrics?: unknown[][] } }[];
}

/** The rows of each widget of each dashboard. */
function widgetsOf(template: Template): { title: string; metrics: unknown[][] }[][] {
  return Object.values(template.findResources('AWS::CloudWatch::Dashboard')).map(({ Properties }) => {
    const body = Properties.DashboardBody;
    const text: string = body['Fn::Join'][1]
      .map((part: unknown) => (typeof part === 'string' ? part : 'REF'))
      .join('');
    const { widgets }: DashboardBody = JSON.parse(text);
    return widgets.map(({ properties: { title, metrics = [] } }) => ({ title, metrics }));
  });
}

const many = (count: number) => Array.from({ length: count }, (_, index) => `orders-${index}`);

describe('a dashboard', () => {
  it('keeps namespaces apart for which the CDK would make one id', () => {
    const namespaces = ['a/b', 'a--b', 'a~1b', 'a~b', 'a/~b'];
    expect(alarmed(create(namespaces).template).sort()).toEqual(namespaces.sort());
  });

  it('takes a namespace and prices that are known only when they are deployed', () => {
    const stack = createStack();
    const namespace = new CfnParameter(stack, 'Namespace');
    const price = new CfnParameter(stack, 'Price', { type: 'Number' });
    const { template } = create(
      [namespace.valueAsString],
      { pricePerMillionWrites: price.valueAsNumber },
      stack,
    );
    expect(alarmed(template)).toEqual([{ Ref: 'Namespace' }]);
    expect(JSON.stringify(template.findResources('AWS::CloudWatch::Dashboard'))).toContain('{"Ref":"Price"}');
  });

  it('is a single one for a few namespaces', () => {
    const { dashboard, template } = create(many(80));
    expect(dashboard.dashboards).toEqual([dashboard.dashboard]);
    expect(widgetsOf(template)).toHaveLength(1);
  });

  it("is split for many namespaces, so that no graph or page exceeds CloudWatch's limits", () => {
    const { dashboard, template } = create(many(200), { dashboardName: 'guards', alarms: false });
    const pages = widgetsOf(template);
    expect(pages).toHaveLength(3);
    expect(dashboard.dashboards).toHaveLength(3);
    for (const widgets of pages) {
      for (const { metrics } of widgets) expect(metrics.length).toBeLessThanOrEqual(500);
      expect(widgets.flatMap(({ metrics }) => metrics).length).toBeLessThanOrEqual(2_500);
    }
    const shown = pages
      .flat()
      .flatMap(({ title, metrics }) =>
        title === 'Outcomes not recorded' ? metrics.map((row) => row[3]) : [],
      );
    expect(shown).toEqual(many(200));
    expect(
      Object.values(template.findResources('AWS::CloudWatch::Dashboard')).map(
        ({ Properties }) => Properties.DashboardName,
      ),
    ).toEqual(['guards', 'guards-2', 'guards-3']);
  });
});
