// The menu behind one's own name: colours, the account page, signing out.
import { useQueryClient, useSuspenseQuery } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import {
  Button,
  Header,
  Menu,
  MenuItem,
  MenuSection,
  MenuTrigger,
  Popover,
  type Selection,
  Separator,
} from 'react-aria-components';
import { api, call } from '../api/client';
import { meQuery } from '../api/queries';
import { t } from '../i18n/t';
import { buttonClass } from './controls';
import { Person, Tick } from './icons';
import { setTheme, THEMES, type Theme, theme } from './theme';

const ITEM =
  'flex min-h-9 cursor-pointer items-center gap-2 rounded px-3 outline-none data-focused:bg-hover pointer-coarse:min-h-11';

export function Account() {
  const { data: me } = useSuspenseQuery(meQuery);
  const [chosen, setChosen] = useState<Theme>(theme);
  const client = useQueryClient();
  const navigate = useNavigate();

  const choose = (selection: Selection) => {
    const next = THEMES.find((name) => selection !== 'all' && selection.has(name));
    if (!next) return;
    setTheme(next);
    setChosen(next);
  };
  const signOut = async () => {
    await call(api.POST('/api/v1/auth/sign-out')).catch(() => undefined);
    client.clear();
    await navigate({ to: '/sign-in' });
  };

  return (
    <MenuTrigger>
      <Button
        className={buttonClass('quiet')}
        aria-label={t('account.menu', { name: me.name ?? me.email ?? '' })}
      >
        <Person />
        <span className="max-w-48 truncate max-sm:hidden">{me.name || me.email}</span>
      </Button>
      <Popover
        placement="bottom end"
        className="min-w-56 rounded border border-line-strong bg-panel p-1 text-ink"
      >
        <Menu aria-label={t('account.title')} className="outline-none">
          <MenuSection
            selectionMode="single"
            disallowEmptySelection
            selectedKeys={[chosen]}
            onSelectionChange={choose}
          >
            <Header className="px-3 pt-2 pb-1 text-[13px] text-muted">{t('account.colours')}</Header>
            {THEMES.map((name) => (
              <MenuItem key={name} id={name} className={ITEM} textValue={t(`theme.${name}`)}>
                {({ isSelected }) => (
                  <>
                    {isSelected ? <Tick /> : <span className="size-4" />}
                    {t(`theme.${name}`)}
                  </>
                )}
              </MenuItem>
            ))}
          </MenuSection>
          <Separator className="my-1 h-px bg-line" />
          <MenuItem className={ITEM} onAction={() => void navigate({ to: '/account' })}>
            <span className="size-4" />
            {t('account.open')}
          </MenuItem>
          <MenuItem className={ITEM} onAction={() => void signOut()}>
            <span className="size-4" />
            {t('account.sign_out')}
          </MenuItem>
        </Menu>
      </Popover>
    </MenuTrigger>
  );
}
