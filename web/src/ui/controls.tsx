// Buttons, links that look like buttons, and text fields, in our clothes.
import {
  type ButtonHTMLAttributes,
  type InputHTMLAttributes,
  type ReactNode,
  type SelectHTMLAttributes,
  useId,
} from 'react';

type Look = 'primary' | 'plain' | 'quiet';

const BASE =
  'focus-ring inline-flex min-h-9 cursor-pointer items-center justify-center gap-2 rounded border px-3 text-sm font-medium no-underline transition-colors duration-100 select-none motion-reduce:transition-none disabled:cursor-default disabled:opacity-50 pointer-coarse:min-h-11';

const LOOKS: Record<Look, string> = {
  primary: 'border-accent bg-accent text-on-accent hover:bg-accent-strong hover:border-accent-strong',
  plain: 'border-line-strong bg-panel text-ink hover:bg-hover',
  quiet: 'border-transparent bg-transparent text-ink hover:bg-hover',
};

/** The clothes of a button, for links that act as one. */
export function buttonClass(look: Look = 'plain', more = ''): string {
  return `${BASE} ${LOOKS[look]} ${more}`;
}

interface ButtonProps extends Omit<ButtonHTMLAttributes<HTMLButtonElement>, 'className' | 'style'> {
  look?: Look;
  more?: string;
  /** Its work is under way; pressing it again does nothing. */
  pending?: boolean;
}

export function Button({
  look = 'plain',
  more = '',
  pending = false,
  type = 'button',
  ...props
}: ButtonProps) {
  return (
    <button
      {...props}
      type={type}
      disabled={pending || props.disabled}
      aria-busy={pending}
      className={buttonClass(look, more)}
    />
  );
}

interface TextFieldProps extends Omit<InputHTMLAttributes<HTMLInputElement>, 'className' | 'style' | 'id'> {
  label: string;
  hint?: ReactNode;
  fault?: string | undefined;
}

/** What typing happens in, here and in forms of their own. Larger on phones, which otherwise zoom in on it. */
export const INPUT =
  'focus-ring min-h-10 rounded border border-line-strong bg-panel px-3 font-normal text-base text-ink read-only:text-muted aria-invalid:border-alarm pointer-coarse:min-h-11 md:text-sm';

/** The browser's own field and checks: password managers and paste work as everywhere. */
export function TextField({ label, hint, fault, ...props }: TextFieldProps) {
  const id = useId();
  const notes = [hint ? `${id}-hint` : '', fault ? `${id}-fault` : ''].filter(Boolean).join(' ');
  return (
    <div className="flex flex-col gap-1">
      <label htmlFor={id} className="font-medium">
        {label}
      </label>
      <input
        {...props}
        id={id}
        className={INPUT}
        aria-invalid={fault !== undefined}
        {...(notes ? { 'aria-describedby': notes } : {})}
      />
      {hint ? (
        <p id={`${id}-hint`} className="text-[13px] text-muted">
          {hint}
        </p>
      ) : null}
      {fault ? (
        <p id={`${id}-fault`} role="alert" className="text-[13px] text-alarm">
          {label} {fault}
        </p>
      ) : null}
    </div>
  );
}

interface SelectFieldProps
  extends Omit<SelectHTMLAttributes<HTMLSelectElement>, 'className' | 'style' | 'id'> {
  label: string;
  options: { value: string; label: string }[];
}

/** The browser's own list of choices. */
export function SelectField({ label, options, ...props }: SelectFieldProps) {
  const id = useId();
  return (
    <div className="flex flex-col gap-1">
      <label htmlFor={id} className="font-medium">
        {label}
      </label>
      <select {...props} id={id} className={INPUT}>
        {options.map((option) => (
          <option key={option.value} value={option.value}>
            {option.label}
          </option>
        ))}
      </select>
    </div>
  );
}
