/**
 * Reading the synthesised template: what a stack is to be, in plain data. It starts nothing.
 */
export type { Assembly, FunctionOverrides, TemplateOptions } from './reader.ts';
export { type DescribedTemplate, describeTemplate, readAssembly } from './template.ts';
