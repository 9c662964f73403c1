// Names beneath a heading, and their order.
import { expect, it } from 'vitest';
import { byName, nameWithin } from './names';

it('what is said above is not said again', () => {
  expect(nameWithin('Weir 3 Water level', 'Weir 3')).toBe('Water level');
  expect(nameWithin('Weir 3 – Water level', 'Weir 3')).toBe('Water level');
  expect(nameWithin('Weir 3', 'Weir 3')).toBe('Weir 3');
  expect(nameWithin('Weird level', 'Weir')).toBe('Weird level');
  expect(nameWithin('Water level', 'Weir 3')).toBe('Water level');
  expect(nameWithin('Water level', undefined)).toBe('Water level');
});

it('numbers in names count', () => {
  const names = byName([{ name: 'Load, 15 minutes' }, { name: 'Load, 5 minutes' }]).map(({ name }) => name);
  expect(names).toEqual(['Load, 5 minutes', 'Load, 15 minutes']);
});
